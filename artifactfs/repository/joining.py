"""Joining stored directories into one: a version with what is added to it, or the parts of a draft.

What only one of them has is taken over by digest and place; only directories that several have are entered, and of a
large one only the pages with changed names are read and written.

Used by put, by drafts and by the SDK. Threading: a Joiner belongs to one thread.

Source: docs/design/drafts.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from artifactfs.model import DirectoryEntry
from artifactfs.paths import join_path, split_path
from artifactfs.repository.treebuilder import StoredDirectory
from artifactfs.repository.treepacks import as_placement
from artifactfs.repository.trees import root_placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from artifactfs.model import Entry, Placement, Root
    from artifactfs.repository.treebuilder import TreeBuilder
    from artifactfs.repository.treepacks import AnyPlace
    from artifactfs.repository.trees import Placed, Trees

PlacedDirectory = tuple[DirectoryEntry, "Placement | None"]
Removed = dict[bytes, "Removed"]
"""Names below a directory: an empty one is taken away whole, of any other what it says."""

CLASHES_SHOWN: Final = 20


def place_root(root: Root) -> PlacedDirectory:
    """Return the top directory of a stored tree, and where it lies."""
    return root.as_entry(), root_placement(root)


def place_stored(stored: StoredDirectory) -> PlacedDirectory:
    """Return a directory that was stored and flushed, and where it lies."""
    return stored.entry, as_placement(stored.place)


def gather_removed(paths: Iterable[bytes]) -> Removed:
    """Return paths as names below names; a path takes away all that is below it."""
    top: Removed = {}
    for path in sorted(paths):
        *above, last = split_path(path)
        below = top
        for name in above:
            if name in below and not below[name]:
                break  # gone already, and all that is below it
            below = below.setdefault(name, {})
        else:
            below[last] = {}
    return top


@dataclass(slots=True)
class _Frame:
    """A directory that is being joined.

    Attributes:
        name: the entry's name.
        path: its entry path.
        base: the directory over which the others are laid.
        others: these.
        removed: what is taken away from `base`.
        changes: what is different from `base`.
        waiting: directories in it that several have.
    """

    name: bytes
    path: bytes
    base: PlacedDirectory
    others: Sequence[PlacedDirectory]
    removed: Removed
    changes: dict[bytes, tuple[Entry, AnyPlace] | None] = field(default_factory=dict)
    waiting: list[_Frame] = field(default_factory=list)


class Joiner:
    """Joins directories. Belongs to one thread.

    Args:
        trees: reads them.
        builder: stores what comes out; whoever owns its batch flushes that.
        settle: is told of a path that several have, and what they have there, in order; returns what is to be there,
            or raises.
    """

    def __init__(
        self, trees: Trees, builder: TreeBuilder, *, settle: Callable[[bytes, Sequence[Placed]], Placed]
    ) -> None:
        self._trees = trees
        self._builder = builder
        self._settle = settle

    def join(
        self, base: PlacedDirectory, others: Sequence[PlacedDirectory], removed: Mapping[bytes, Removed] | None = None
    ) -> StoredDirectory:
        """Return the directory that has what all of them have.

        Args:
            base: gives permission bits; its pages are used again where they do not change.
            others: what is laid over it.
            removed: what of `base` does not count.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: one of them cannot be read.
            StorageFullError: there is no room.
        """
        # A stack instead of recursion: directories nest deeper than Python's stack.
        frames = [self._enter(_Frame(b"/", b"", base, others, dict(removed or {})))]
        while True:
            frame = frames[-1]
            if frame.waiting:
                frames.append(self._enter(frame.waiting.pop()))
                continue
            stored = self._leave(frame)
            frames.pop()
            if not frames:
                return stored
            frames[-1].changes[frame.name] = (stored.entry, stored.place)

    def _enter(self, frame: _Frame) -> _Frame:
        groups: dict[bytes, list[Placed]] = {}
        for directory, placement in frame.others:
            for entry, place in self._trees.load_entries(directory, placement):
                groups.setdefault(entry.name, []).append((entry, place))
        for name, found in groups.items():
            is_gone = name in frame.removed and not frame.removed[name]
            there = None if is_gone else self._find_child(frame, name)
            self._take(frame, name, [*([there] if there else []), *found], is_new=there is None)
        for name, below in frame.removed.items():
            if name not in groups:
                self._take_away(frame, name, below)
        return frame

    def _take(self, frame: _Frame, name: bytes, found: list[Placed], *, is_new: bool) -> None:
        path = join_path(frame.path, name)
        if is_new and len(found) == 1:
            frame.changes[name] = found[0]
            return
        directories = [(entry, place) for entry, place in found if isinstance(entry, DirectoryEntry)]
        if len(directories) == len(found):
            removed = {} if is_new else frame.removed.get(name, {})
            frame.waiting.append(_Frame(name, path, directories[0], directories[1:], removed))
            return
        frame.changes[name] = self._settle(path, found)

    def _take_away(self, frame: _Frame, name: bytes, below: Removed) -> None:
        there = self._find_child(frame, name)
        if there is None:
            return
        if not below:
            frame.changes[name] = None
        elif isinstance(there[0], DirectoryEntry):
            frame.waiting.append(_Frame(name, join_path(frame.path, name), (there[0], there[1]), (), below))

    def _find_child(self, frame: _Frame, name: bytes) -> Placed | None:
        return self._trees.find_child(frame.base[0], name, frame.base[1])

    def _leave(self, frame: _Frame) -> StoredDirectory:
        base, placement = frame.base
        return self._builder.overlay_directory(
            frame.name,
            mode=base.mode,
            mtime_ns=max([base.mtime_ns, *(entry.mtime_ns for entry, _ in frame.others)]),
            base=base,
            changes=frame.changes,
            placement=placement,
        )


def find_clashes(trees: Trees, one: PlacedDirectory, other: PlacedDirectory) -> Iterator[bytes]:
    """Yield the paths that two directories both have, but for directories that both have.

    Raises:
        BlobMissingError, DigestMismatchError, MalformedError: one of them cannot be read.
    """
    waiting: list[tuple[bytes, PlacedDirectory, PlacedDirectory]] = [(b"", one, other)]
    while waiting:
        path, first, second = waiting.pop()
        if first[0].tree == second[0].tree and first[0].count:
            yield from (below for below, entry in trees.iter_below(first[0], path, first[1]) if _is_leaf(entry))
            continue
        small, large = sorted((first, second), key=lambda placed: placed[0].count)
        for entry, place in trees.load_entries(*small):
            found = trees.find_child(large[0], entry.name, large[1])
            if found is None:
                continue
            below = join_path(path, entry.name)
            if isinstance(entry, DirectoryEntry) and isinstance(found[0], DirectoryEntry):
                waiting.append((below, (entry, place), (found[0], found[1])))
            else:
                yield below


def _is_leaf(entry: Entry) -> bool:
    return not isinstance(entry, DirectoryEntry)
