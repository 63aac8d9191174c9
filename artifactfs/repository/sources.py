"""What goes into a version from where: local paths, and the directories of the version that they lay out.

`images` keeps its name, `images/` and `.` put their contents at the root, as `rsync` has it. A name that comes from
two sources is an error, except for directories that only lead to one.

Used by put and the SDK. Threading: a plan belongs to one thread.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from artifactfs.errors import AlreadyExistsError, UsageError, translate_os_error
from artifactfs.model import FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import join_path, printable, split_path
from artifactfs.reference.uris import redact_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.model import DirectoryEntry

Given = FileEntry | SymlinkEntry | ReferenceEntry
"""An entry that is put into a version as it is: nothing local is read for it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A local path, and where it goes.

    Attributes:
        path: a local path; a symbolic link is stored as one, unless a slash follows.
        at: the entry path that it gets; b"" puts the contents of a directory at the root; None decides by how
            `path` is written: `a/b/images` becomes `images`, and of `images/`, `.` and `..` the contents count.
    """

    path: bytes
    at: bytes | None = None

    @property
    def target(self) -> bytes:
        """The entry path that it gets."""
        if self.at is not None:
            return self.at
        name = self.path.rpartition(b"/")[2]
        return b"" if name in (b"", b".", b"..") else name


@dataclass(slots=True)
class Planned:
    """A directory of the version.

    Attributes:
        contents: local directories whose contents lie in it; the first gives permission bits and time.
        children: what sources put there by name: a directory, an entry, or the local path of anything else.
        hidden: names in `contents` that do not count.
        taken: the directory of a version that it was taken from, which gives permission bits and time.
        mtime_ns: its time while nothing lies in it; None is the time at which it is stored.
    """

    contents: list[bytes] = field(default_factory=list)
    children: dict[bytes, Planned | Given | bytes] = field(default_factory=dict)
    hidden: set[bytes] = field(default_factory=set)
    taken: DirectoryEntry | None = None
    mtime_ns: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was put there."""
        return not self.contents and not self.children and self.taken is None

    @property
    def is_plain(self) -> bool:
        """Whether it is one local directory, but for what is hidden of it."""
        return len(self.contents) == 1 and not self.children

    @property
    def only_hides(self) -> bool:
        """Whether nothing is put there, not even a directory."""
        below = all(isinstance(child, Planned) and child.only_hides for child in self.children.values())
        return below and not self.contents and self.taken is None and bool(self.hidden or self.children)


def make_plan(sources: Iterable[Source]) -> Planned:
    """Return the root directory that these sources lay out.

    Raises:
        AlreadyExistsError: two of them give the same name.
        SourceNotFoundError, AccessDeniedError: a local path does not exist or may not be looked at.
        InvalidPathError, NameTooLongError: an entry path that is not one.
        UsageError: a file that is to be the root.
    """
    root = Planned()
    for source in sources:
        add_source(root, source)
    return root


def add_source(root: Planned, source: Source) -> None:
    """Add one source to a plan. When it raises, the plan is as it was.

    Raises:
        ArtifactFSError: see `make_plan`.
    """
    names = split_path(source.target)
    is_directory = _is_directory(source)
    if not names and not is_directory:
        msg = f"{printable(source.path)!r} is not a directory, so it cannot be the root of a version"
        raise UsageError(msg, hint="give it a name", subject=os.fsdecode(source.path))
    there = _find_planned(root, names, source)
    if there is not None and names and (not is_directory or not isinstance(there, Planned) or _is_filled(there)):
        raise _double(source.target, source)
    if is_directory:
        _descend(root, names).contents.append(source.path)
    else:
        _descend(root, names[:-1]).children[names[-1]] = source.path


def add_entry(root: Planned, path: bytes, entry: Given, origin: str = "") -> None:
    """Add an entry to a plan, under an entry path. When it raises, the plan is as it was.

    Args:
        root: the plan.
        path: the entry path that it gets.
        entry: the entry; its name does not count.
        origin: where it comes from, for messages; a reference says that itself.

    Raises:
        AlreadyExistsError: a source gives the same name.
        InvalidPathError, NameTooLongError: it is no entry path.
    """
    names = split_path(path)
    shown = redact_uri(entry.uri) if isinstance(entry, ReferenceEntry) and not origin else origin
    source = Source(shown.encode("utf-8", "surrogateescape"), path)
    if not names or _find_planned(root, names, source) is not None:
        raise _double(path, source)
    _descend(root, names[:-1]).children[names[-1]] = replace(entry, name=names[-1])


def add_directory(root: Planned, path: bytes, entry: DirectoryEntry) -> None:
    """Add a directory of a version, without what is in it; one that only leads to something gets its bits and time."""
    directory = _descend(root, split_path(path))
    if directory.taken is None:
        directory.taken = entry


def add_folder(root: Planned, path: bytes, mtime_ns: int, origin: str) -> None:
    """Add a directory to a plan, unless it is there. When it raises, the plan is as it was.

    Raises:
        AlreadyExistsError: a source gives a file of the same name.
        InvalidPathError, NameTooLongError: it is no entry path.
    """
    names = split_path(path)
    source = Source(origin.encode("utf-8", "surrogateescape"), path)
    there = _find_planned(root, names, source)
    if there is not None and not isinstance(there, Planned):
        raise _double(path, source)
    _descend(root, names).mtime_ns = mtime_ns


def check_addable(root: Planned, path: bytes, origin: str, *, is_directory: bool) -> None:
    """Return if something could be added at a path.

    Raises:
        AlreadyExistsError: a source gives the same name.
        InvalidPathError, NameTooLongError: it is no entry path.
    """
    names = split_path(path)
    source = Source(origin.encode("utf-8", "surrogateescape"), path)
    there = _find_planned(root, names, source)
    if there is None or (is_directory and not names):
        return
    if not is_directory or not isinstance(there, Planned) or _is_filled(there):
        raise _double(path, source)


def find_planned(root: Planned, path: bytes) -> Planned | Given | bytes | None:
    """Return what sources put at a path by its name, or None."""
    found: Planned | Given | bytes | None = root
    for name in split_path(path):
        found = found.children.get(name) if isinstance(found, Planned) else None
    return found


def drop_path(root: Planned, path: bytes) -> None:
    """Take away what sources put at a path by its name, and directories that only led there."""
    names = list(split_path(path))
    while names:
        parent = find_planned(root, b"/".join(names[:-1]))
        if isinstance(parent, Planned):
            parent.children.pop(names[-1], None)
            if parent.children or parent.contents or parent.hidden or parent.taken is not None:
                return
        names.pop()


def hide_path(root: Planned, path: bytes) -> None:
    """Take away what a local directory has at a path."""
    names = split_path(path)
    _descend(root, names[:-1]).hidden.add(names[-1])


def describe_plan(sources: Iterable[Source]) -> tuple[str, ...]:
    """Return one line for each source that says what was laid out how."""
    return tuple(_describe(source) for source in sources)


def _describe(source: Source) -> str:
    shown = printable(source.path)
    if not source.target:
        return f"the contents of {shown} at the root"
    return f"{shown} as {printable(source.target)}{'/' if _is_directory(source) else ''}"


def _is_directory(source: Source) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(source.path).st_mode)
    except OSError as error:
        shown = printable(source.path)
        raise translate_os_error(error, doing=f"reading {shown}", subject=os.fsdecode(source.path)) from error


def _is_filled(planned: Planned) -> bool:
    """Return whether a directory is one of a source, and does not only lead to one."""
    return bool(planned.contents) or planned.taken is not None


def _find_planned(root: Planned, names: tuple[bytes, ...], source: Source) -> Planned | Given | bytes | None:
    found: Planned | Given | bytes | None = root
    path = b""
    for name in names:
        if found is not None and not isinstance(found, Planned):
            raise _double(path, source)  # a file where a directory is needed
        path = join_path(path, name)
        found = found.children.get(name) if found is not None else None
    return found


def _descend(root: Planned, names: tuple[bytes, ...]) -> Planned:
    """Return the directory with these names, made where it is missing."""
    directory = root
    for name in names:
        below = directory.children.setdefault(name, Planned())
        assert isinstance(below, Planned)
        directory = below
    return directory


def _double(path: bytes, source: Source) -> AlreadyExistsError:
    msg = f"{printable(path)!r} would be there twice; the second is {printable(source.path)}"
    return AlreadyExistsError(
        msg, hint="put what is to be together into one directory", subject=os.fsdecode(source.path)
    )
