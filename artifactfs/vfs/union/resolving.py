"""Finding a path in a union: what is in the upper directory, what shows through from the version below.

A directory of the union has an upper part, a lower part, or both. The lower part is the directory under the same name
in the lower part above, unless the upper one is opaque (none) or has a redirect (another one).

Used by the union. Threading: `Resolver` is guarded by the union's lock on names.

Source: Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from artifactfs.paths import NAME_MAX
from artifactfs.staging.marks import USER, is_whiteout

if TYPE_CHECKING:
    from artifactfs.repository.lower import Lower, LowerDirectory, LowerEntry

_CACHED_DIRECTORIES = 65_536


class Directory(NamedTuple):
    """A directory of the union: whether it is in the upper directory, and what is below it."""

    in_upper: bool
    lower: LowerDirectory | None


class Found(NamedTuple):
    """What stands under a path.

    Attributes:
        upper: status of the file in the upper directory, a whiteout's too; None when there is nothing.
        lower: entry that would show if nothing were in the upper directory; None when there is none.
    """

    upper: os.stat_result | None
    lower: LowerEntry | None

    @property
    def is_hidden(self) -> bool:
        """Whether a whiteout stands there."""
        return self.upper is not None and is_whiteout(self.upper)

    @property
    def exists(self) -> bool:
        """Whether anything shows."""
        return not self.is_hidden and (self.upper is not None or self.lower is not None)

    @property
    def in_upper(self) -> bool:
        """Whether what shows lies in the upper directory."""
        return self.upper is not None and not self.is_hidden

    @property
    def is_directory(self) -> bool:
        """Whether a directory shows."""
        if self.upper is not None:
            return stat.S_ISDIR(self.upper.st_mode)
        return self.lower is not None and self.lower.as_directory() is not None


def fail(number: int, path: bytes = b"") -> OSError:
    """Return the `OSError` with an errno, to be raised."""
    return OSError(number, os.strerror(number), os.fsdecode(path))


def directory_of(upper: bytes) -> bytes:
    """Return the directory that a path in the upper directory stands in."""
    return os.path.dirname(upper) or b"."


class Resolver:
    """Resolves entry paths. Guarded by the union's lock on names.

    With the upper directory as working directory (`upper` is `.`) an entry path may be as long as the system takes.
    """

    def __init__(self, upper: bytes, lower: Lower, *, prefix: bytes = USER) -> None:
        self.upper = upper
        self._above = b"" if upper == b"." else upper + b"/"
        self.lower = lower
        self.prefix = prefix
        self._directories: dict[bytes, Directory] = {}

    def upper_path(self, path: bytes) -> bytes:
        """Return where an entry path lies, or would lie, in the upper directory."""
        return self._above + path if path else self.upper

    def forget(self, path: bytes) -> None:
        """Forget one directory: it came up, or was removed. What is in it, if anything, resolves as before."""
        self._directories.pop(path, None)

    def forget_all(self) -> None:
        """Forget all directories: one was moved, with what is in it."""
        self._directories.clear()

    def get_directory(self, path: bytes) -> Directory:
        """Return the directory at a path.

        Raises:
            OSError: ENOENT, ENAMETOOLONG, or ENOTDIR when something on the way is no directory.
        """
        missing: list[bytes] = []
        while path and path not in self._directories:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        directory = self._directories[path] if path else Directory(in_upper=True, lower=self.lower.top)
        for below in reversed(missing):  # no recursion: directories nest deeper than Python's stack
            directory = self._step(directory, below)
            if len(self._directories) >= _CACHED_DIRECTORIES:
                self._directories.clear()
            self._directories[below] = directory
        return directory

    def find(self, path: bytes) -> Found:
        """Return what stands under a path, whether or not something does.

        Raises:
            OSError: ENOENT or ENOTDIR because of a directory on the way; ENAMETOOLONG.
        """
        if not path:
            return Found(os.lstat(self.upper), None)
        parent, _, name = path.rpartition(b"/")
        directory = self.get_directory(parent)
        _check_name(name, path)
        upper = self._find_upper(path) if directory.in_upper else None
        lower = self.lower.find_child(directory.lower, name) if directory.lower is not None else None
        return Found(upper, lower)

    def get(self, path: bytes) -> Found:
        """Return what shows under a path.

        Raises:
            OSError: ENOENT: nothing does; ENOTDIR.
        """
        found = self.find(path)
        if not found.exists:
            raise fail(errno.ENOENT, path)
        return found

    def list_names(self, path: bytes) -> dict[bytes, Found]:
        """Return everything that shows in a directory, in name order.

        Raises:
            OSError: ENOENT or ENOTDIR.
        """
        directory = self.get_directory(path)
        names: dict[bytes, Found] = {}
        if directory.lower is not None:
            names = {entry.entry.name: Found(None, entry) for entry in self.lower.list_directory(directory.lower)}
        if directory.in_upper:
            with os.scandir(self.upper_path(path)) as entries:
                for item in entries:
                    below = names.get(item.name)
                    names[item.name] = Found(item.stat(follow_symlinks=False), below.lower if below else None)
        return {name: names[name] for name in sorted(names) if names[name].exists}

    def _find_upper(self, path: bytes) -> os.stat_result | None:
        try:
            return os.lstat(self.upper_path(path))
        except FileNotFoundError:
            return None

    def _step(self, above: Directory, path: bytes) -> Directory:
        """Return the directory at a path, from the one that it is in."""
        name = path.rpartition(b"/")[2]
        _check_name(name, path)
        upper = self._find_upper(path) if above.in_upper else None
        if upper is None:
            below = self.lower.find_child(above.lower, name) if above.lower is not None else None
            if below is None:
                raise fail(errno.ENOENT, path)
            lower = below.as_directory()
            if lower is None:
                raise fail(errno.ENOTDIR, path)
            return Directory(in_upper=False, lower=lower)
        if is_whiteout(upper):
            raise fail(errno.ENOENT, path)
        if not stat.S_ISDIR(upper.st_mode):
            raise fail(errno.ENOTDIR, path)
        below_it = self.lower.find_below(self.upper_path(path), name, above.lower, prefix=self.prefix)
        return Directory(in_upper=True, lower=below_it)


def _check_name(name: bytes, path: bytes) -> None:
    if len(name) > NAME_MAX:
        raise fail(errno.ENAMETOOLONG, path)
