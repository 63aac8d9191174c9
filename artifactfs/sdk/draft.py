"""What an artifact will hold before it is logged: local paths, read when it is, perhaps over an older version.

Used by `Artifact`. Threading: a Draft belongs to one thread.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
import weakref
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from artifactfs.errors import AlreadyExistsError, EntryNotFoundError, InvalidPathError, UsageError, translate_os_error
from artifactfs.model import DirectoryEntry
from artifactfs.paths import format_path, join_path, parse_path, printable, split_path
from artifactfs.repository.ignore import Ignored
from artifactfs.repository.over import lay_over
from artifactfs.repository.put import hash_plan
from artifactfs.repository.reading import Dropped, FileReader, HashingSink
from artifactfs.repository.referring import plan_reference
from artifactfs.repository.scan import Scanner
from artifactfs.repository.sources import Given, Planned, Source, add_source, drop_path, find_planned, hide_path
from artifactfs.repository.taking import plan_entries, take_entries
from artifactfs.repository.treebuilder import StoredDirectory, make_root
from artifactfs.repository.treepacks import as_placement
from artifactfs.repository.trees import Trees
from artifactfs.sdk.base import Base, Pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import Entry
    from artifactfs.reference.references import References
    from artifactfs.repository.commit import CommitOptions
    from artifactfs.repository.over import Over
    from artifactfs.repository.referring import Referred
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.scan import Found
    from artifactfs.sdk.workspace import Workspace

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Draft:
    """Local paths, each with its place in the artifact. Belongs to one thread.

    Files of `new_file` lie in a temporary directory, which goes with the draft.

    Args:
        base: the version that it begins as; None begins with nothing.

    Attributes:
        plan: what goes where.
    """

    def __init__(self, base: Base | None = None) -> None:
        self.plan = Planned()
        self._base = base
        self._temporary: str | None = None
        self._taken: dict[bytes, tuple[str, str, str]] = {}

    def add_file(self, path: PathLike, name: str | None, *, overwrite: bool) -> bytes:
        """Add a file or link, and return its entry path.

        Raises:
            SourceNotFoundError, AccessDeniedError: it does not exist or may not be looked at.
            InvalidPathError: it is a directory, or `name` is no entry path.
            AlreadyExistsError: the name is taken and `overwrite` is not given.
        """
        local = os.path.abspath(os.fsencode(path))
        if stat.S_ISDIR(_stat(local).st_mode):
            msg = f"{printable(local)} is a directory"
            raise InvalidPathError(msg, hint="use add_dir", subject=format_path(local))
        # A link that was named means the file, as it does for `cp`.
        local = os.path.realpath(local)
        at = parse_path(name) if name else os.path.basename(os.fsencode(path))
        if self._base is not None:
            self._base.check_free(at, overwrite=overwrite)
        self._add(Source(local, at), overwrite=overwrite)
        if self._base is not None and overwrite:
            self._base.replace(at)
        return at

    def add_dir(self, path: PathLike, name: str | None, *, overwrite: bool = False) -> bytes:
        """Add a directory, and return the entry path that it gets; b"" when its contents are at the root.

        Raises:
            SourceNotFoundError, AccessDeniedError: it does not exist or may not be looked at.
            InvalidPathError: it is no directory, or `name` is no entry path.
            AlreadyExistsError: the name is taken.
        """
        given = os.fsencode(path)
        if not stat.S_ISDIR(_stat(given).st_mode):
            msg = f"{printable(given)} is not a directory"
            raise InvalidPathError(msg, hint="use add_file", subject=format_path(given))
        at = Source(given).target if name is None else parse_path(name)
        self._add(Source(os.path.join(os.path.abspath(given), b""), at), overwrite=False)
        if self._base is not None and overwrite:
            self._base.replace(at)
        return at

    def add_reference(self, references: References, referred: Referred) -> tuple[bytes, ...]:
        """Add what a URI names, and return the entry paths. When it raises, the draft is as it was.

        Raises:
            ArtifactFSError: see `plan_reference`.
        """
        return plan_reference(self.plan, references, referred)

    def take_entries(self, workspace: Workspace, referred: Referred) -> tuple[bytes, ...]:
        """Take over entries of a version, and return their paths. When it raises, the draft is as it was.

        Args:
            workspace: of the version; a draft that begins as a version has its own.
            referred: which entries.

        Raises:
            ArtifactFSError: see `taking.take_entries` and `plan_entries`.
        """
        repository = (workspace if self._base is None else self._base.workspace).repository
        taken = take_entries(repository, referred)
        paths = plan_entries(self.plan, taken)
        self._taken |= dict.fromkeys(paths, (taken.version, repository.id, repository.location))
        return paths

    def note_inputs(self, repository: Repository, options: CommitOptions) -> CommitOptions:
        """Return options that also say of which versions something was taken over.

        Raises:
            UsageError: such a version lies in another repository.
        """
        found = {taken for path, taken in self._taken.items() if isinstance(find_planned(self.plan, path), Given)}
        for name, id_, location in found:
            if id_ != repository.id:
                msg = f"{name}, of which entries were added, lies in {location}"
                hint = f"`artifactfs copy` brings it to {repository.location}; or log the artifact there"
                raise UsageError(msg, hint=hint, subject=name)
        return replace(options, inputs=tuple(dict.fromkeys((*options.inputs, *sorted(name for name, _, _ in found)))))

    @contextmanager
    def new_file(self, name: str, mode: str, encoding: str | None) -> Iterator[IO[Any]]:
        """Give a new file to write to, which is added when this ends well.

        Raises:
            UsageError: a mode other than `w`, `x`, `wb` or `xb`.
            InvalidPathError: `name` is no entry path.
            AlreadyExistsError: the name is taken.
        """
        if mode not in {"w", "x", "wb", "xb", "w+", "w+b"}:
            msg = f"the mode {mode!r} cannot make a new file"
            raise UsageError(msg, hint="use w or wb")
        at = parse_path(name)
        self._check_free(at)
        folder = tempfile.mkdtemp(dir=self._temporary_directory())
        local = os.path.join(folder, "file")
        with open(local, mode, encoding=encoding if "b" in mode else encoding or "utf-8") as file:
            yield file
        self._add(Source(os.fsencode(local), at), overwrite=False)

    def remove(self, name: str) -> None:
        """Remove a file, or a directory with all that is in it.

        Raises:
            EntryNotFoundError: there is no such path.
        """
        path = parse_path(name)
        is_in_base = self._base is not None and bool(path) and self._base.find(path) is not None
        is_added = bool(path) and self._find_found(path) is not None
        if not is_added and not is_in_base:
            raise _missing(path)
        if is_added:
            drop_path(self.plan, path)
            if self._find_found(path) is not None:  # it is in a directory that was added
                hide_path(self.plan, path)
        if self._base is not None and is_in_base:
            self._base.remove(path)

    def find(self, path: bytes) -> Entry:
        """Return the entry that a path will have; a directory's is read and hashed whole.

        Raises:
            EntryNotFoundError: there is no such path.
        """
        if not path:
            return self.hash()
        if self._base is not None:
            trees, stored = self._assemble(self._base)
            return trees.find_entry(make_root(stored), path)
        found = self._find_found(path)
        if found is None:
            raise _missing(path)
        if found.planned is not None:
            pages = Pages()
            root = hash_plan(self.plan, now_ns=time.time_ns(), sink=pages)
            return Trees(pages).find_entry(make_root(StoredDirectory(root, None)), path)
        return _read(FileReader(HashingSink(), Dropped()), found)

    def hash(self) -> DirectoryEntry:
        """Return the root that would be committed now.

        Raises:
            ArtifactFSError: see `put_paths`.
        """
        if self._base is not None:
            return self._assemble(self._base)[1].entry
        return hash_plan(self.plan, now_ns=time.time_ns())

    def iter_files(self) -> Iterator[tuple[bytes, Entry]]:
        """Yield path and entry of every file and link, hashed, in depth-first order."""
        if self._base is not None:
            trees, root = self._assemble(self._base)
            below = trees.iter_below(root.entry, placement=as_placement(root.place))
            yield from ((path, entry) for path, entry in below if not isinstance(entry, DirectoryEntry))
            return
        reader = FileReader(HashingSink(), Dropped())
        for found in self._iter_found():
            if found.planned is None:
                yield found.path, _read(reader, found)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added, removed, or taken over from a version."""
        return self._base is None and self.plan.is_empty

    def find_over(self, repository: Repository) -> Over | None:
        """Return the version over which it is laid when it is logged, and what becomes of that; None without one.

        Raises:
            UsageError: the version lies in another repository.
        """
        return None if self._base is None else self._base.describe(repository)

    def _assemble(self, base: Base) -> tuple[Trees, StoredDirectory]:
        """Return what would be logged now: a directory, and what reads it."""
        pages = Pages(base.reader)
        added = hash_plan(self.plan, now_ns=time.time_ns(), sink=pages)
        trees = Trees(pages)
        new = None if self.plan.is_empty else StoredDirectory(added, None)
        return trees, lay_over(trees, pages, base.root, new, base.over)

    def _iter_found(self) -> Iterator[Found]:
        scanner = Scanner()
        levels = [iter(_list(scanner, self.plan, b"", Ignored()))]
        while levels:
            found, ignored = next(levels[-1], (None, Ignored()))
            if found is None:
                levels.pop()
                continue
            yield found
            if found.planned is not None:
                levels.append(iter(_list(scanner, found.planned, found.path, ignored)))

    def _find_found(self, path: bytes) -> Found | None:
        scanner, planned, ignored, found = Scanner(), self.plan, Ignored(), None
        walked = b""
        for name in split_path(path):
            if found is not None and found.planned is None:
                return None
            planned = self.plan if found is None or found.planned is None else found.planned
            listing = scanner.list_directory(planned, walked, ignored)
            ignored, walked = listing.ignored, join_path(walked, name)
            found = next((item for item in listing.found if item.name == name), None)
            if found is None:
                return None
        return found

    def _add(self, source: Source, *, overwrite: bool) -> None:
        if overwrite and isinstance(find_planned(self.plan, source.target), bytes | Given):
            drop_path(self.plan, source.target)
        add_source(self.plan, source)

    def _check_free(self, path: bytes) -> None:
        if self._base is not None:
            self._base.check_free(path, overwrite=False)
        if find_planned(self.plan, path) is not None:
            msg = f"{printable(path)!r} is in the draft already"
            raise AlreadyExistsError(msg, hint="remove it first", subject=printable(path))

    def _temporary_directory(self) -> str:
        if self._temporary is None:
            self._temporary = tempfile.mkdtemp(prefix="artifactfs-")
            weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        return self._temporary


def _list(scanner: Scanner, planned: Planned, path: bytes, ignored: Ignored) -> list[tuple[Found, Ignored]]:
    listing = scanner.list_directory(planned, path, ignored)
    return [(found, listing.ignored) for found in listing.found]


def _stat(path: bytes) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise translate_os_error(error, doing=f"adding {printable(path)}", subject=format_path(path)) from error


def _read(reader: FileReader, found: Found) -> Entry:
    if found.given is not None:
        return found.given
    is_link = found.status is not None and stat.S_ISLNK(found.status.st_mode)
    return reader.read_link(found) if is_link else reader.read_file(found).file


def _missing(path: bytes) -> EntryNotFoundError:
    msg = f"there is no {printable(path)!r} in this draft"
    return EntryNotFoundError(msg, subject=printable(path))
