"""A writable tree: an upper directory over an immutable version. What a staging directory is, without any protocol.

Paths are entry paths: bytes, relative, `b""` is the top. Errors are `OSError` with the errno that the same call on a
local disk gives, or `IntegrityError` when the version is damaged.

Files are read, written and copied up outside the lock on names, so a long write stops nobody.

Used by `mount`. Threading: may be shared by threads.

Source: the system calls of the same names; Documentation/filesystems/overlayfs.rst for the upper directory.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

from artifactfs.model import ReferenceEntry
from artifactfs.paths import join_path
from artifactfs.staging.marks import NODE_MARK
from artifactfs.vfs.union import making
from artifactfs.vfs.union.attributes import UnionAttributes, attributes_of, lower_attributes, upper_attributes
from artifactfs.vfs.union.copyup import Copier
from artifactfs.vfs.union.details import Details
from artifactfs.vfs.union.files import OpenFiles
from artifactfs.vfs.union.gate import Gate, Writer
from artifactfs.vfs.union.making import Caller
from artifactfs.vfs.union.namespace import Namespace
from artifactfs.vfs.union.resolving import Resolver, fail
from artifactfs.vfs.union.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.model import FileEntry
    from artifactfs.repository.lower import Lower, LowerEntry
    from artifactfs.vfs.union.resolving import Found

__all__ = ["Caller", "Union"]

_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


class Union:
    """A staging directory as a tree. A context manager; may be shared by threads.

    Args:
        upper: the upper directory.
        work: an empty directory on the same file system.
        lower: the version.
        gate: freezes and thaws it.
        quota: bytes; None for no limit.
        will_wait: called before something that may take long: a disk is synchronised, a file copied, the network asked.
        is_far: whether files of the version come over the network.

    Attributes:
        gate: freezes and thaws it.
    """

    def __init__(
        self,
        upper: bytes,
        work: bytes,
        lower: Lower,
        *,
        gate: Gate,
        quota: int | None = None,
        will_wait: Callable[[], None] = lambda: None,
        is_far: bool = False,
    ) -> None:
        self.gate = gate
        self._will_wait = will_wait
        self._is_far = is_far
        self._room = Room(upper, work, quota)
        self._names = threading.RLock()
        self._files = OpenFiles(self._room)
        self._resolver = Resolver(upper, lower)
        self._copier = Copier(
            self._resolver, work, names=self._names, moved_up=self._files.move_up, room=self._room, will_wait=will_wait
        )
        self._namespace = Namespace(self._resolver, self._copier, self._room)
        self._details = Details(self._resolver, self._copier, self._room, names=self._names)

    def __enter__(self) -> Union:  # noqa: PYI034 (not made to be inherited from)
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all open files."""
        self._files.close()

    def limit(self, quota: int | None) -> None:
        """Set the quota: bytes, or None for no limit. What is there stays, even if it is more."""
        self._files.limit(quota)

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
        """Open a file and return a handle. For writing, a file of the version is copied up first.

        Raises:
            OSError: ENOENT, ENOTDIR, EISDIR, ELOOP for a link, ENOSPC.
            IntegrityError: the version's content is damaged or missing.
        """
        if flags & _ACCESS == os.O_RDONLY and not flags & os.O_TRUNC:
            return self._open_for_reading(path)
        with self.gate.changing():
            with self._details.own(path, keep_data=not flags & os.O_TRUNC) as (upper, _):
                handle = self._open_upper(upper, path, flags, caller)
            if flags & os.O_TRUNC and self._files.get(handle).is_writable:
                # Outside the lock: it takes a while for a large file.
                self._files.truncate(handle, 0)
        return handle

    def hold(self, path: bytes) -> int:
        """Return a handle that answers for a file, whatever becomes of its name; `reopen` reads it."""
        with self._names:
            found = self._resolver.get(path)
            if not found.in_upper and found.lower is not None:
                return self._files.reserve(found.lower, may_be_far=False)
            upper = self._resolver.upper_path(path)
            try:
                descriptor = os.open(upper, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except PermissionError:  # its owner, an ordinary user, may not read it
                descriptor = os.open(upper, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            return self._files.add_upper(descriptor, is_writable=False)

    def reopen(self, held: int, path: bytes, flags: int, caller: Caller) -> int:
        """Open the file that a handle is held for, and return another handle.

        Raises:
            OSError: ENOENT: it is a file of the version, which without a name cannot be copied up to be written.
            IntegrityError: the version's content is damaged or missing.
        """
        lower, access = self._files.get(held).lower, flags & _ACCESS
        if lower is not None:
            if access != os.O_RDONLY:
                raise fail(errno.ENOENT, path)
            return self._fill(self._files.reserve(lower, may_be_far=self._may_be_far(lower)), lower)
        name = b"/proc/self/fd/%d" % self._descriptor(held)
        if access == os.O_RDONLY:
            return self._files.add_upper(os.open(name, os.O_RDONLY | os.O_CLOEXEC), is_writable=False)
        with self.gate.changing():
            handle = self._files.add_upper(os.open(name, access | os.O_CLOEXEC), is_writable=True)
            self.gate.add_writer(handle, Writer(caller.pid, path))
            if flags & os.O_TRUNC:
                self._files.truncate(handle, 0)
        return handle

    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> int:
        """Make a file, open it and return a handle; without O_EXCL, one that is there is opened."""
        with self.gate.changing(), self._names:
            if not self._resolver.find(path).exists:
                upper = self._namespace.make(path, lambda at, above: making.make_file(at, above, caller))
                handle = self._open_upper(upper, path, flags & ~os.O_TRUNC, caller)
                making.finish_file(self._descriptor(handle), mode)
                return handle
            if flags & os.O_EXCL:
                raise fail(errno.EEXIST, path)
        return self.open(path, flags, caller)

    def read(self, handle: int, *, offset: int, size: int) -> bytes:
        """Return the overlap of a range with an open file."""
        if self._files.get(handle).may_be_far:
            self._will_wait()
        return self._files.read(handle, offset=offset, size=size)

    def write(self, handle: int, data: bytes, *, offset: int) -> int:
        """Write bytes to an open file, and return how many."""
        return self._files.write(handle, data, offset=offset)

    def fsync(self, handle: int, *, data_only: bool) -> None:
        """Make an open file durable, and its name with it."""
        self._will_wait()
        self._files.sync(handle, data_only=data_only)

    def fsync_directory(self, path: bytes) -> None:
        """Make the names in a directory durable."""
        with self._names:
            if not self._resolver.get_directory(path).in_upper:
                return
            descriptor = os.open(self._resolver.upper_path(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._will_wait()
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
            self._details.truncate(path, size)

    def make_node(self, path: bytes, mode: int, caller: Caller) -> None:
        """Make an empty file; devices, FIFOs and sockets are refused with EPERM, as a commit could not keep them."""
        if not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            raise fail(errno.EPERM, path)
        self.release(self.create(path, mode, os.O_RDONLY | os.O_EXCL, caller))

    def make_directory(self, path: bytes, mode: int, caller: Caller) -> None:
        """Make a directory."""
        with self.gate.changing(), self._names:
            upper = self._namespace.make_directory(path, lambda at, above: making.make_directory(at, above, caller))
            making.finish_directory(upper, mode)

    def make_symlink(self, path: bytes, target: bytes, caller: Caller) -> None:
        """Make a symbolic link."""
        with self.gate.changing(), self._names:
            self._namespace.make(
                path, lambda at, above: making.make_symlink(at, above, caller, target=target), size=len(target)
            )

    def link(self, old: bytes, new: bytes) -> None:
        """Give a file a second name."""
        with self.gate.changing():
            with self._names:  # as link(2): first what is linked, then the new name, then whether it may be
                is_directory = self._resolver.get(old).is_directory
                if self._resolver.find(new).exists:
                    raise fail(errno.EEXIST, new)
                if is_directory:
                    raise fail(errno.EPERM, old)
            with self._details.own(old) as (upper, _):
                self._namespace.link(upper, new)

    def unlink(self, path: bytes) -> None:
        """Remove a name of a file; who has it open keeps it."""
        with self.gate.changing(), self._names:
            self._namespace.remove_file(path)

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        with self.gate.changing():
            with self._names:
                self._namespace.remove_directory(path)
            self._copier.empty_trash()

    def rename(self, old: bytes, new: bytes, *, may_replace: bool = True) -> None:
        """Move `old` to `new`, over what is there unless `may_replace` is False."""
        with self.gate.changing():
            while not self._try_rename(old, new, may_replace=may_replace):
                self._copier.ensure_file(old)
            self._copier.empty_trash()

    def chmod(self, path: bytes, mode: int) -> None:
        """Set permission bits."""
        with self.gate.changing():
            self._details.chmod(path, mode)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        """Set owner and group, where this process may; -1 leaves one as it is."""
        with self.gate.changing():
            self._details.chown(path, uid, gid)

    def set_times(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set access and modification time in nanoseconds since 1970 UTC; None leaves one as it is."""
        with self.gate.changing():
            self._details.set_times(path, atime_ns, mtime_ns)

    def list_xattrs(self, path: bytes) -> list[bytes]:
        """Return the names of the user's extended attributes; what is in the version has none."""
        return self._details.list_xattrs(path)

    def get_xattr(self, path: bytes, name: bytes) -> bytes:
        """Return an extended attribute."""
        return self._details.get_xattr(path, name)

    def set_xattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        """Set an extended attribute of the user's; a commit does not keep it."""
        with self.gate.changing():
            self._details.set_xattr(path, name, value, flags)

    def remove_xattr(self, path: bytes, name: bytes) -> None:
        """Remove an extended attribute."""
        with self.gate.changing():
            self._details.remove_xattr(path, name)

    def statfs(self) -> os.statvfs_result:
        """Return the figures of the disk below the upper directory."""
        return os.statvfs(self._resolver.upper)

    def _list_row(self, path: bytes, name: bytes, item: Found) -> tuple[bytes, int, int]:
        attributes = attributes_of(item, self._resolver.upper_path(join_path(path, name)))
        return name, attributes.node, stat.S_IFMT(attributes.mode)

    def _try_rename(self, old: bytes, new: bytes, *, may_replace: bool) -> bool:
        with self._names:
            if not self._namespace.rename(old, new, may_replace=may_replace):
                return False
            self.gate.rename_writers(old, new)
            return True

    def _open_for_reading(self, path: bytes) -> int:
        with self._names:
            found = self._resolver.get(path)
            if found.is_directory:
                raise fail(errno.EISDIR, path)
            if found.in_upper:
                descriptor = os.open(self._resolver.upper_path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                return self._files.add_upper(descriptor, is_writable=False)
            lower = found.lower
            if lower is None or not hasattr(lower.entry, "size"):
                raise fail(errno.ELOOP, path)
            # Under the lock, so that a copy that comes up meanwhile finds the handle.
            handle = self._files.reserve(lower, may_be_far=self._may_be_far(lower))
        return self._fill(handle, lower)

    def _may_be_far(self, lower: LowerEntry) -> bool:
        return self._is_far or isinstance(lower.entry, ReferenceEntry)

    def _fill(self, handle: int, lower: LowerEntry) -> int:
        """Open the content of a file of the version for a handle that is reserved for it; return the handle."""
        entry: FileEntry | ReferenceEntry = lower.entry  # type: ignore[assignment]  # it has a size
        try:
            if self._may_be_far(lower):
                self._will_wait()
            self._files.fill(handle, self._resolver.lower.open_file(entry, lower.placement))
        except BaseException:
            self._files.remove(handle)
            raise
        return handle

    def _open_upper(self, upper: bytes, path: bytes, flags: int, caller: Caller) -> int:
        """Open a file in the upper directory; under the lock on names."""
        access = flags & _ACCESS
        # O_APPEND is the kernel's business: it works out the offset and asks for a write there.
        kept = os.O_NOFOLLOW | os.O_CLOEXEC | (flags & os.O_TRUNC if access == os.O_RDONLY else 0)
        with self._room.changing(*([upper] if kept & os.O_TRUNC else [])):
            descriptor = os.open(upper, access | kept)
        handle = self._files.add_upper(descriptor, is_writable=access != os.O_RDONLY)
        if access != os.O_RDONLY:
            self.gate.add_writer(handle, Writer(caller.pid, path))
        return handle

    def _descriptor(self, handle: int) -> int:
        descriptor = self._files.get(handle).descriptor
        if descriptor is None:
            raise fail(errno.EBADF)
        return descriptor

    def _getattr_open(self, handle: int) -> UnionAttributes:
        file = self._files.get(handle)
        lower = file.lower
        if lower is not None:
            return lower_attributes(lower)
        descriptor = self._descriptor(handle)
        try:
            mark: bytes | None = os.getxattr(descriptor, NODE_MARK)
        except OSError:
            mark = None
        return upper_attributes(os.fstat(descriptor), mark)
