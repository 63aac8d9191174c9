"""What changed between two directories: equal subtrees are skipped, renames are found by content.

Times alone are no change. A directory that is there on one side only is listed as what is in it (and itself when it
is empty), unless it was renamed as a whole.

Used by the command line, staging directories and the SDK. Threading: pure functions over Trees.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from artifactfs.manifest import build_directory
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, Root, SymlinkEntry
from artifactfs.paths import join_path
from artifactfs.repository.trees import Trees, root_placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactfs.model import Entry, Placement
    from artifactfs.repository.repository import Repository

ChangeKind = Literal["added", "modified", "deleted", "renamed", "type-changed", "mode-changed"]

_EMPTY_CONTENT: Final = build_directory(())[-1].content

EMPTY_ROOT: Final = DirectoryEntry(b"/", 0o755, 0, b"\0" * 32, b"\0" * 32, 0, 0)
"""Stands for no directory at all; it is never read."""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that is different.

    Attributes:
        kind: `added`, `deleted`; `modified`: other content (and perhaps other permission bits); `type-changed`:
            something of another kind; `mode-changed`: other permission bits only; `renamed`: the same content
            (and perhaps other permission bits) under another path, of a directory with all that is in it.
        path: where it is now; where it was, if it was deleted.
        old_path: where it was, if it was renamed; else None.
        old: the entry before; None if it was added.
        new: the entry now; None if it was deleted.
    """

    kind: ChangeKind
    path: bytes
    old_path: bytes | None
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class _Side:
    """Something that is there on one side only."""

    path: bytes
    entry: Entry
    placement: Placement | None = None


def diff_trees(
    repository: Repository | Trees, old: Root | DirectoryEntry | None, new: Root | DirectoryEntry | None
) -> list[Change]:
    """Return what changed from `old` to `new`, in order of the new paths.

    Args:
        repository: where both are stored (or the Trees that read them).
        old: the directory before; None for nothing.
        new: the directory now; None for nothing.

    Raises:
        BlobMissingError, DigestMismatchError, MalformedError: a tree cannot be read.
    """
    trees = repository if isinstance(repository, Trees) else Trees(repository.blobs)
    differ = _Differ(trees)
    differ.compare(_as_side(old), _as_side(new))
    return sorted(differ.finish(), key=lambda change: (change.path, change.old_path or b""))


def same_content(old: Entry, new: Entry) -> bool:
    """Return whether two entries of one kind have the same bytes, target or content below; modes do not count."""
    match old, new:
        case FileEntry(), FileEntry():
            return old.sha256 == new.sha256
        case SymlinkEntry(), SymlinkEntry():
            return old.target == new.target
        case DirectoryEntry(), DirectoryEntry():
            return old.content == new.content
        case (FileEntry() | ReferenceEntry(), FileEntry() | ReferenceEntry()):
            return old.digest == new.digest
    return False


class _Differ:
    """Collects changes. Belongs to one thread."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._changes: list[Change] = []
        self._deleted: list[_Side] = []
        self._added: list[_Side] = []

    def compare(self, old: _Side, new: _Side) -> None:
        """Compare two directories at one path, and what is below both."""
        waiting = [(old, new)]
        while waiting:
            before, after = waiting.pop()
            known = {side.entry.name: side for side in self._list(before)}
            for side in self._list(after):
                there = known.pop(side.entry.name, None)
                if there is None:
                    self._added.append(side)
                elif self._compare_one(there, side):
                    waiting.append((there, side))
            self._deleted += known.values()

    def finish(self) -> Iterator[Change]:
        """Yield all changes, renames found."""
        renamed = _Renames(self._trees, self._deleted, self._added)
        yield from self._changes
        yield from renamed.pair()

    def _compare_one(self, old: _Side, new: _Side) -> bool:
        """Note what changed at one path; return whether both are directories that must be looked into."""
        before, after = old.entry, new.entry
        if _kind(before) != _kind(after):
            self._note_type_change(old, new)
            return False
        if isinstance(before, DirectoryEntry) and isinstance(after, DirectoryEntry):
            if before.mode != after.mode:
                self._changes.append(Change("mode-changed", new.path, None, before, after))
            return before.tree != after.tree
        if not same_content(before, after):
            self._changes.append(Change("modified", new.path, None, before, after))
        elif before.mode != after.mode and not isinstance(after, SymlinkEntry):
            self._changes.append(Change("mode-changed", new.path, None, before, after))
        return False

    def _note_type_change(self, old: _Side, new: _Side) -> None:
        self._changes.append(Change("type-changed", new.path, None, old.entry, new.entry))
        # What was, or is, in a directory comes and goes with it.
        self._deleted += self._list(old)
        self._added += self._list(new)

    def _list(self, side: _Side) -> Iterable[_Side]:
        return list_side(self._trees, side)


def list_side(trees: Trees, side: _Side) -> list[_Side]:
    """Return what is in a directory; nothing for anything else."""
    if not isinstance(side.entry, DirectoryEntry) or side.entry is EMPTY_ROOT:
        return []
    return [
        _Side(join_path(side.path, entry.name), entry, place)
        for entry, place in trees.load_entries(side.entry, side.placement)
    ]


_Key = tuple[int, bytes]


class _Renames:
    """Pairs what was deleted with what was added. Belongs to one thread."""

    def __init__(self, trees: Trees, deleted: list[_Side], added: list[_Side]) -> None:
        self._trees = trees
        self._added = added
        self._deleted = deleted
        self._by_name: defaultdict[tuple[_Key, bytes], deque[_Side]] = defaultdict(deque)
        self._by_key: defaultdict[_Key, deque[_Side]] = defaultdict(deque)
        self._gone: set[bytes] = set()
        self._split: set[bytes] = set()

    def pair(self) -> Iterator[Change]:
        """Yield renames, and what is left as added and deleted."""
        if self._added:
            self._index_deleted()
        waiting = sorted(self._added, key=_by_path, reverse=True)
        while waiting:  # directories before what is in them, so that whole ones are found first
            side = waiting.pop()
            source = self._find_source(side)
            if source is not None:
                yield Change("renamed", side.path, source.path, source.entry, side.entry)
            elif _has_entries(side.entry):
                waiting += reversed(list_side(self._trees, side))
            else:
                yield Change("added", side.path, None, None, side.entry)
        yield from self._iter_deleted()

    def _index_deleted(self) -> None:
        for side in self._iter_all(self._deleted):
            key = _rename_key(side.entry)
            if key is not None:
                self._by_name[key, side.entry.name].append(side)
                self._by_key[key].append(side)

    def _find_source(self, side: _Side) -> _Side | None:
        """Return the deleted thing that was renamed to this; one of the same name before others."""
        key = _rename_key(side.entry)
        if key is None:
            return None
        for candidates in (self._by_name[key, side.entry.name], self._by_key[key]):
            while candidates:
                found = candidates.popleft()
                if self._is_whole(found):
                    self._gone.add(found.path)
                    self._split.update(_parents(found.path))
                    return found
        return None

    def _is_whole(self, side: _Side) -> bool:
        """Return whether neither this, nor a directory that it is in, nor anything in it was renamed already."""
        gone = side.path in self._gone or any(parent in self._gone for parent in _parents(side.path))
        return not gone and side.path not in self._split

    def _iter_all(self, sides: list[_Side]) -> Iterator[_Side]:
        waiting = sorted(sides, key=_by_path, reverse=True)
        while waiting:
            side = waiting.pop()
            yield side
            waiting += reversed(list_side(self._trees, side))

    def _iter_deleted(self) -> Iterator[Change]:
        waiting = list(self._deleted)
        while waiting:
            side = waiting.pop()
            if side.path in self._gone:
                continue
            if _has_entries(side.entry):
                waiting += list_side(self._trees, side)
            else:
                yield Change("deleted", side.path, None, side.entry, None)


def _as_side(directory: Root | DirectoryEntry | None) -> _Side:
    if isinstance(directory, Root):
        return _Side(b"", directory.as_entry(), root_placement(directory))
    return _Side(b"", EMPTY_ROOT if directory is None else directory)


def _kind(entry: Entry) -> str:
    match entry:
        case DirectoryEntry():
            return "directory"
        case SymlinkEntry():
            return "link"
    return "file"


def _has_entries(entry: Entry) -> bool:
    # A directory of empty directories has a count of 0 as well: its content digest tells.
    return isinstance(entry, DirectoryEntry) and entry.content != _EMPTY_CONTENT


def _rename_key(entry: Entry) -> tuple[int, bytes] | None:
    """Return what a renamed entry keeps; None for what is too common to be the same: empty files and directories."""
    match entry:
        case DirectoryEntry() if entry.count:
            return 2, entry.content
        case FileEntry() | ReferenceEntry() if entry.size:
            return 1, entry.digest.raw
    return None


def _by_path(side: _Side) -> bytes:
    return side.path


def _parents(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path
