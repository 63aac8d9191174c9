"""Permission bits, owner, times, size and extended attributes of what shows in a union.

A change brings the file or directory up first. It is then made under the lock on names, so that nothing else stands
under the name meanwhile; links are never followed.

Used by the union, which lets each change through its gate. Threading: may be shared by threads.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from artifactfs.staging.marks import HIDDEN
from artifactfs.vfs.union.resolving import fail

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from artifactfs.vfs.union.copyup import Copier
    from artifactfs.vfs.union.resolving import Found, Resolver
    from artifactfs.vfs.union.room import Room

_KEPT_MODE = 0o7777


class Details:
    """Reads and changes what is known about files besides names and content. May be shared by threads."""

    def __init__(self, resolver: Resolver, copier: Copier, room: Room, *, names: threading.RLock) -> None:
        self._resolver = resolver
        self._copier = copier
        self._room = room
        self._names = names

    def chmod(self, path: bytes, mode: int) -> None:
        """Set permission bits.

        Raises:
            OSError: ENOENT; EOPNOTSUPP for a link.
        """
        with self.own(path) as (upper, found):
            if found.upper is not None and stat.S_ISLNK(found.upper.st_mode):
                raise fail(errno.EOPNOTSUPP, path)
            os.chmod(upper, mode & _KEPT_MODE)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        """Set owner and group; -1 leaves one as it is. What is in the version already belongs to this process.

        Raises:
            OSError: ENOENT, EPERM.
        """
        with self._names:
            found = self._resolver.get(path)
        if not found.in_upper and uid in (-1, os.geteuid()) and gid in (-1, os.getegid()):
            return
        with self.own(path) as (upper, _):
            os.chown(upper, uid, gid, follow_symlinks=False)

    def set_times(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set access and modification time in nanoseconds since 1970 UTC; None leaves one as it is.

        Raises:
            OSError: ENOENT.
        """
        if atime_ns is None and mtime_ns is None:
            with self._names:
                self._resolver.get(path)
            return
        with self.own(path) as (upper, _):
            status = os.lstat(upper)
            times = (
                status.st_atime_ns if atime_ns is None else atime_ns,
                status.st_mtime_ns if mtime_ns is None else mtime_ns,
            )
            os.utime(upper, ns=times, follow_symlinks=False)

    def truncate(self, path: bytes, size: int) -> None:
        """Set the size of a file.

        Raises:
            OSError: ENOENT, EISDIR, EINVAL, EFBIG, ENOSPC.
        """
        with self.own(path, keep_data=size > 0) as (upper, found):
            if found.is_directory:
                raise fail(errno.EISDIR, path)
            descriptor = os.open(upper, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with self._room.changing(descriptor):
                os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def list_xattrs(self, path: bytes) -> list[bytes]:
        """Return the names of the user's extended attributes; what is in the version has none."""
        with self._names:
            if not self._resolver.get(path).in_upper:
                return []
            names = os.listxattr(self._resolver.upper_path(path), follow_symlinks=False)
        return [name for name in map(os.fsencode, names) if name.startswith(b"user.") and not name.startswith(HIDDEN)]

    def get_xattr(self, path: bytes, name: bytes) -> bytes:
        """Return an extended attribute.

        Raises:
            OSError: ENOENT, ENODATA.
        """
        with self._names:
            found = self._resolver.get(path)
            if not found.in_upper or name.startswith(HIDDEN) or not name.startswith(b"user."):
                raise fail(errno.ENODATA, path)
            return os.getxattr(self._resolver.upper_path(path), name, follow_symlinks=False)

    def set_xattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        """Set an extended attribute of the user's; a commit does not keep it.

        Raises:
            OSError: ENOENT; ENOTSUP for another namespace; EPERM for artifactfs's own; EEXIST, ENODATA, ENOSPC,
                EDQUOT.
        """
        _check_xattr(path, name)
        if flags & os.XATTR_REPLACE:
            self.get_xattr(path, name)
        with self.own(path) as (upper, _), self._room.changing(upper, size=len(name) + len(value)):
            os.setxattr(upper, name, value, flags, follow_symlinks=False)

    def remove_xattr(self, path: bytes, name: bytes) -> None:
        """Remove an extended attribute.

        Raises:
            OSError: ENOENT, ENODATA, ENOTSUP, EPERM.
        """
        _check_xattr(path, name)
        self.get_xattr(path, name)
        with self.own(path) as (upper, _), self._room.changing(upper):
            os.removexattr(upper, name, follow_symlinks=False)

    @contextmanager
    def own(self, path: bytes, *, keep_data: bool = True) -> Iterator[tuple[bytes, Found]]:
        """Hold the lock on names with something in the upper directory; yield its path there, and what it is.

        Raises:
            OSError: ENOENT, ENOTDIR, ENOSPC.
        """
        while True:
            self._copier.ensure_file(path, keep_data=keep_data)
            with self._names:
                found = self._resolver.get(path)
                if found.in_upper:
                    yield self._resolver.upper_path(path), found
                    return


def _check_xattr(path: bytes, name: bytes) -> None:
    if name.startswith(HIDDEN):
        raise fail(errno.EPERM, path)
    if not name.startswith(b"user."):
        raise fail(errno.ENOTSUP, path)
