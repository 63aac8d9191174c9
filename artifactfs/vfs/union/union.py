"""A writable tree: an upper directory over an immutable version. What a staging directory is, without any protocol.

Paths are entry paths: bytes, relative, `b""` is the top. Errors are `OSError` with the errno that the same call on a
local disk gives, or `IntegrityError` when the version is damaged.

Files are read and written outside the lock on names, so a long write stops nobody.

Used by `mount`. Threading: may be shared by threads.

Source: the system calls of the same names; Documentation/filesystems/overlayfs.rst for the upper directory.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING, NamedTuple

from artifactfs.paths import join_path
from artifactfs.staging.marks import HIDDEN, NODE_MARK
from artifactfs.vfs.union.attributes import UnionAttributes, attributes_of, lower_attributes, upper_attributes
from artifactfs.vfs.union.copyup import Copier
from artifactfs.vfs.union.files import OpenFile, OpenFiles
from artifactfs.vfs.union.gate import Gate, Writer
from artifactfs.vfs.union.namespace import Namespace
from artifactfs.vfs.union.resolving import Resolver, fail

if TYPE_CHECKING:
    from artifactfs.repository.lower import Lower
    from artifactfs.vfs.union.resolving import Found

_KEPT_MODE = 0o7777
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


class Caller(NamedTuple):
    """Who asks: process, user and group. What is made belongs to the user, where this process may give it away."""

    pid: int
    uid: int
    gid: int


class Union:
    """A staging directory as a tree. A context manager; may be shared by threads.

    Attributes:
        gate: freezes and thaws it.
    """

    def __init__(self, upper: bytes, work: bytes, lower: Lower, *, gate: Gate) -> None:
        self.gate = gate
        self._names = threading.RLock()
        self._resolver = Resolver(upper, lower)
        self._copier = Copier(self._resolver, work, self._names)
        self._namespace = Namespace(self._resolver, self._copier)
        self._files = OpenFiles()
        self._may_give = os.geteuid() == 0

    def __enter__(self) -> Union:  # noqa: PYI034 (not made to be inherited from)
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all open files."""
        self._files.close()

    def getattr(self, path: bytes, handle: int | None = None) -> UnionAttributes:
        """Return the attributes of a path, or of an open file."""
        if handle is not None:
            return self._getattr_open(handle)
        with self._names:
            found = self._resolver.get(path)
            return attributes_of(found, self._resolver.upper_path(path))

    def read_directory(self, path: bytes) -> list[tuple[bytes, int, int]]:
        """Return name, inode number and file type (as in `st_mode`) of everything in a directory, in name order."""
        with self._names:
            found = self._resolver.list_names(path)
        return [self._list_row(path, name, item) for name, item in found.items()]

    def readlink(self, path: bytes) -> bytes:
        """Return the target of a symbolic link."""
        with self._names:
            found = self._resolver.get(path)
            if found.in_upper:
                return os.readlink(self._resolver.upper_path(path))
        target = getattr(found.lower.entry, "target", None) if found.lower else None
        if target is None:
            raise fail(errno.EINVAL, path)
        return bytes(target)

    def open(self, path: bytes, flags: int, caller: Caller) -> int:
        """Open a file and return a handle. For writing, a file of the version is copied up first."""
        if flags & _ACCESS == os.O_RDONLY and not flags & os.O_TRUNC:
            return self._open_for_reading(path)
        with self.gate.changing():
            upper = self._copier.ensure_file(path, keep_data=not flags & os.O_TRUNC)
            return self._open_upper(upper, path, flags & ~(os.O_CREAT | os.O_EXCL), caller)

    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> int:
        """Make a file, open it and return a handle; without O_EXCL, one that is there is opened."""
        with self.gate.changing():
            with self._names:
                if not self._resolver.find(path).exists:
                    upper = self._namespace.make(path, lambda at: self._make_file(at, mode, caller))
                    return self._open_upper(upper, path, flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC), caller)
            if flags & os.O_EXCL:
                raise fail(errno.EEXIST, path)
        return self.open(path, flags, caller)

    def read(self, handle: int, *, offset: int, size: int) -> bytes:
        """Return the overlap of a range with an open file."""
        return self._files.read(handle, offset=offset, size=size)

    def write(self, handle: int, data: bytes, *, offset: int) -> int:
        """Write bytes to an open file, and return how many."""
        return self._files.write(handle, data, offset=offset)

    def fsync(self, handle: int, *, data_only: bool) -> None:
        """Make an open file durable, and its name with it."""
        self._files.sync(handle, data_only=data_only)

    def fsync_directory(self, path: bytes) -> None:
        """Make the names in a directory durable."""
        with self._names:
            if not self._resolver.get_directory(path).in_upper:
                return
            descriptor = os.open(self._resolver.upper_path(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def release(self, handle: int) -> None:
        """Close a handle."""
        self._files.remove(handle)
        self.gate.remove_writer(handle)

    def truncate(self, path: bytes, size: int, handle: int | None = None) -> None:
        """Set the size of a file."""
        if handle is not None:
            self._files.truncate(handle, size)
            return
        with self.gate.changing():
            os.truncate(self._copier.ensure_file(path, keep_data=size > 0), size)

    def make_node(self, path: bytes, mode: int, caller: Caller) -> None:
        """Make an empty file; devices, FIFOs and sockets are refused with EPERM, as a commit could not keep them."""
        if not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            raise fail(errno.EPERM, path)
        with self.gate.changing(), self._names:
            self._namespace.make(path, lambda at: self._make_file(at, mode, caller))

    def make_directory(self, path: bytes, mode: int, caller: Caller) -> None:
        """Make a directory."""
        with self.gate.changing(), self._names:
            self._namespace.make_directory(path, lambda at: self._make_directory(at, mode, caller))

    def make_symlink(self, path: bytes, target: bytes, caller: Caller) -> None:
        """Make a symbolic link."""
        with self.gate.changing(), self._names:
            self._namespace.make(path, lambda at: self._make_symlink(at, target, caller))

    def link(self, old: bytes, new: bytes) -> None:
        """Give a file a second name."""
        with self.gate.changing():
            is_directory = self._is_directory(old)
            with self._names:
                if self._resolver.find(new).exists:
                    raise fail(errno.EEXIST, new)
            if is_directory:
                raise fail(errno.EPERM, old)
            upper = self._copier.ensure_file(old)
            with self._names:
                self._namespace.link(upper, new)

    def unlink(self, path: bytes) -> None:
        """Remove a name of a file; who has it open keeps it."""
        with self.gate.changing(), self._names:
            self._namespace.remove_file(path)

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        with self.gate.changing(), self._names:
            self._namespace.remove_directory(path)

    def rename(self, old: bytes, new: bytes, *, may_replace: bool = True) -> None:
        """Move `old` to `new`, over what is there unless `may_replace` is False."""
        with self.gate.changing():
            with self._names:  # as rename(2): both parents before either name
                self._resolver.get_directory(old.rpartition(b"/")[0])
                self._resolver.get_directory(new.rpartition(b"/")[0])
            if not self._is_directory(old):
                self._copier.ensure_file(old)
            with self._names:
                self._namespace.rename(old, new, may_replace=may_replace)

    def chmod(self, path: bytes, mode: int) -> None:
        """Set permission bits."""
        with self.gate.changing():
            os.chmod(self._own(path), mode & _KEPT_MODE)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        """Set owner and group, where this process may; -1 leaves one as it is."""
        with self.gate.changing():
            os.chown(self._own(path), uid, gid, follow_symlinks=False)

    def set_times(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set access and modification time in nanoseconds since 1970 UTC; None leaves one as it is."""
        with self.gate.changing():
            upper = self._own(path)
            status = os.lstat(upper)
            times = (
                status.st_atime_ns if atime_ns is None else atime_ns,
                status.st_mtime_ns if mtime_ns is None else mtime_ns,
            )
            os.utime(upper, ns=times, follow_symlinks=False)

    def list_xattrs(self, path: bytes) -> list[bytes]:
        """Return the names of the user's extended attributes; what is in the version has none."""
        with self._names:
            if not self._resolver.get(path).in_upper:
                return []
            names = os.listxattr(self._resolver.upper_path(path), follow_symlinks=False)
        return [name for name in map(os.fsencode, names) if name.startswith(b"user.") and not name.startswith(HIDDEN)]

    def get_xattr(self, path: bytes, name: bytes) -> bytes:
        """Return an extended attribute."""
        with self._names:
            found = self._resolver.get(path)
            if not found.in_upper or name.startswith(HIDDEN) or not name.startswith(b"user."):
                raise fail(errno.ENODATA, path)
            return os.getxattr(self._resolver.upper_path(path), name, follow_symlinks=False)

    def set_xattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        """Set an extended attribute of the user's; a commit does not keep it."""
        _check_xattr(path, name)
        with self.gate.changing():
            os.setxattr(self._own(path), name, value, flags, follow_symlinks=False)

    def remove_xattr(self, path: bytes, name: bytes) -> None:
        """Remove an extended attribute."""
        _check_xattr(path, name)
        with self.gate.changing():
            os.removexattr(self._own(path), name, follow_symlinks=False)

    def statfs(self) -> os.statvfs_result:
        """Return the figures of the disk below the upper directory."""
        return os.statvfs(self._resolver.upper)

    def _list_row(self, path: bytes, name: bytes, item: Found) -> tuple[bytes, int, int]:
        attributes = attributes_of(item, self._resolver.upper_path(join_path(path, name)))
        return name, attributes.node, stat.S_IFMT(attributes.mode)

    def _own(self, path: bytes) -> bytes:
        """Return a path in the upper directory, with the file or directory there."""
        return self._copier.ensure_directory(path) if self._is_directory(path) else self._copier.ensure_file(path)

    def _is_directory(self, path: bytes) -> bool:
        with self._names:
            return self._resolver.get(path).is_directory

    def _open_for_reading(self, path: bytes) -> int:
        with self._names:
            found = self._resolver.get(path)
            if found.is_directory:
                raise fail(errno.EISDIR, path)
            if found.in_upper:
                descriptor = os.open(self._resolver.upper_path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                return self._files.add(OpenFile(descriptor, None, None, is_writable=False))
        lower = found.lower
        if lower is None or not hasattr(lower.entry, "size"):
            raise fail(errno.ELOOP, path)
        content = self._resolver.lower.open_file(lower.entry)  # type: ignore[arg-type]
        return self._files.add(OpenFile(None, content, lower, is_writable=False))

    def _open_upper(self, upper: bytes, path: bytes, flags: int, caller: Caller) -> int:
        # O_APPEND is the kernel's business: it works out the offset and asks for a write there.
        wanted = (flags & os.O_TRUNC) | os.O_NOFOLLOW | os.O_CLOEXEC
        is_writable = flags & _ACCESS != os.O_RDONLY
        descriptor = os.open(upper, wanted | (os.O_RDWR if is_writable else os.O_RDONLY))
        handle = self._files.add(OpenFile(descriptor, None, None, is_writable=is_writable))
        if is_writable:
            self.gate.add_writer(handle, Writer(caller.pid, path))
        return handle

    def _getattr_open(self, handle: int) -> UnionAttributes:
        file = self._files.get(handle)
        if file.lower is not None:
            return lower_attributes(file.lower)
        descriptor = file.descriptor
        if descriptor is None:
            raise fail(errno.EBADF)
        try:
            mark: bytes | None = os.getxattr(descriptor, NODE_MARK)
        except OSError:
            mark = None
        return upper_attributes(os.fstat(descriptor), mark)

    def _make_file(self, at: bytes, mode: int, caller: Caller) -> None:
        os.close(os.open(at, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._give(at, caller)
        os.chmod(at, mode & _KEPT_MODE)

    def _make_directory(self, at: bytes, mode: int, caller: Caller) -> None:
        os.mkdir(at, 0o700)
        self._give(at, caller)
        os.chmod(at, mode & _KEPT_MODE)

    def _make_symlink(self, at: bytes, target: bytes, caller: Caller) -> None:
        os.symlink(target, at)
        self._give(at, caller)

    def _give(self, at: bytes, caller: Caller) -> None:
        if self._may_give and caller.uid != os.geteuid():
            os.chown(at, caller.uid, caller.gid, follow_symlinks=False)


def _check_xattr(path: bytes, name: bytes) -> None:
    if name.startswith(HIDDEN):
        raise fail(errno.EPERM, path)
    if not name.startswith(b"user."):
        raise fail(errno.ENOTSUP, path)
