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

from artifactfs.errors import AlreadyExistsError, UsageError, translate_os_error
from artifactfs.paths import check_name, join_path, printable, split_path

if TYPE_CHECKING:
    from collections.abc import Iterable


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
        children: what sources put there by name: a directory, or the local path of anything else.
    """

    contents: list[bytes] = field(default_factory=list)
    children: dict[bytes, Planned | bytes] = field(default_factory=dict)


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
        names = split_path(source.target)
        if _is_directory(source):
            directory = _descend(root, names, source)
            if directory.contents and names:
                raise _double(source.target, source)
            directory.contents.append(source.path)
        elif names:
            parent = _descend(root, names[:-1], source)
            if names[-1] in parent.children:
                raise _double(source.target, source)
            parent.children[check_name(names[-1])] = source.path
        else:
            msg = f"{printable(source.path)!r} is not a directory, so it cannot be the root of a version"
            raise UsageError(msg, hint="give it a name", subject=os.fsdecode(source.path))
    return root


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


def _descend(root: Planned, names: tuple[bytes, ...], source: Source) -> Planned:
    """Return the directory with these names, made where it is missing."""
    directory, path = root, b""
    for name in names:
        path = join_path(path, name)
        below = directory.children.setdefault(name, Planned())
        if not isinstance(below, Planned):
            raise _double(path, source)
        directory = below
    return directory


def _double(path: bytes, source: Source) -> AlreadyExistsError:
    msg = f"{printable(path)!r} would be there twice; the second is {printable(source.path)}"
    return AlreadyExistsError(
        msg, hint="put what is to be together into one directory", subject=os.fsdecode(source.path)
    )
