"""A staging directory as a fusepy file system: open files with handles, short timeouts, everything allowed.

A file that is removed while it is open goes on working. libfuse renames it to `.fuse_hidden...` and removes that when
it is closed, because the kernel asks for the attributes of such a file without its handle, and libfuse then needs a
name. Here the hidden name exists only in this process: the file is removed from the union at once, and a handle kept
open answers for the hidden name. (libfuse's `hard_remove` would leave it without any name: fstat fails.) One that is
replaced keeps its name until the other has it, as rename(2) demands. Somebody may give a file a name that begins so
himself: then the kernel has asked for it, while libfuse's own are in no request.

Used by `building` through `transport`.

Threading: called from libfuse's threads; the hidden files are guarded by a lock.
"""

from __future__ import annotations

import stat
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import fuse

from artifactfs.mount.fusepy.bridge import fill_stat
from artifactfs.mount.fusepy.operations import Operations
from artifactfs.vfs.union.union import Caller

if TYPE_CHECKING:
    from artifactfs.vfs.union.union import Union

_HIDDEN: Final = b".fuse_hidden"
_RENAME: Final = struct.pack("=I", 12)
"""FUSE_RENAME, as bytes 4 to 8 of a request have it. Source: fuse_in_header and fuse_opcode in linux/fuse.h."""
_UNCHANGED: Final = 2**32 - 1
_UTIME_NOW: Final = (1 << 30) - 1
_UTIME_OMIT: Final = (1 << 30) - 2
_SECOND_NS: Final = 1_000_000_000

Time = tuple[int, int]


class WriteOperations(Operations):
    """Serves a `Union`. What still lies in the version belongs to `uid` and `gid`.

    Threading: called from libfuse's threads.
    """

    # An open file without a name has no path, and UTIME_OMIT is understood.
    flag_nullpath_ok = 1
    flag_utime_omit_ok = 1

    def __init__(
        self,
        union: Union,
        *,
        uid: int,
        gid: int,
        on_ready: Callable[[], None],
        request: Callable[[], bytes] = lambda: b"",
    ) -> None:
        """Store what is served; `request` returns what the kernel asks of this thread just now."""
        self._union = union
        self._uid = uid
        self._gid = gid
        self._on_ready = on_ready
        self._request = request
        self._guard = threading.Lock()
        self._hidden: dict[bytes, int] = {}

    def init(self) -> None:
        """Say that the mount answers."""
        self._on_ready()

    def getattr(self, path: bytes | None, handle: int | None, target: Any) -> None:
        """Fill a `struct stat`."""
        if handle is None and path is not None:
            handle = self._hidden.get(path)
        found = self._union.getattr(_entry(path), handle)
        uid = self._uid if found.uid is None else found.uid
        gid = self._gid if found.gid is None else found.gid
        fill_stat(target, found, mode=found.mode, uid=uid, gid=gid)
        target.st_blocks = found.blocks
        target.st_atimespec.tv_sec, target.st_atimespec.tv_nsec = divmod(found.atime_ns, _SECOND_NS)
        target.st_ctimespec.tv_sec, target.st_ctimespec.tv_nsec = divmod(found.ctime_ns, _SECOND_NS)

    def readdir(self, path: bytes | None, handle: int) -> list[tuple[bytes, int, int]]:  # noqa: ARG002
        """Return names with node numbers and types; nothing for a directory that was removed."""
        if path is None:
            return []
        node = self._union.getattr(_entry(path)).node
        listing = [(b".", node, stat.S_IFDIR), (b"..", node, stat.S_IFDIR)]
        return listing + self._union.read_directory(_entry(path))

    def readlink(self, path: bytes) -> bytes:
        """Return the target."""
        return self._union.readlink(_entry(path))

    def open(self, path: bytes, flags: int) -> int:
        """Open a file; the kernel has checked permissions. O_TRUNC comes with it (`atomic_o_trunc`)."""
        hidden = self._hidden.get(path)
        if hidden is not None:  # the kernel had found it when it still had its name
            return self._union.reopen(hidden, _entry(path), flags, _caller())
        return self._union.open(_entry(path), flags, _caller())

    def create(self, path: bytes, mode: int, flags: int) -> int:
        """Make and open a file; the kernel has applied the umask."""
        return self._union.create(_entry(path), mode, flags, _caller())

    def read(self, path: bytes | None, size: int, offset: int, handle: int) -> bytes:  # noqa: ARG002
        """Return the overlap of the range with the file."""
        return self._union.read(handle, offset=offset, size=size)

    def write(self, path: bytes | None, data: bytes, offset: int, handle: int) -> int:  # noqa: ARG002
        """Write; return the number of bytes."""
        return self._union.write(handle, data, offset=offset)

    def release(self, path: bytes | None, handle: int) -> None:  # noqa: ARG002
        """Close a handle: the last descriptor and mapping are gone."""
        self._union.release(handle)

    def fsync(self, path: bytes | None, datasync: int, handle: int) -> None:  # noqa: ARG002
        """Make a file durable."""
        self._union.fsync(handle, data_only=bool(datasync))

    def fsyncdir(self, path: bytes | None, datasync: int, handle: int) -> None:  # noqa: ARG002
        """Make a directory's names durable."""
        if path is not None:
            self._union.fsync_directory(_entry(path))

    def truncate(self, path: bytes | None, length: int, handle: int | None) -> None:
        """Set the size."""
        self._union.truncate(_entry(path), length, handle)

    def mknod(self, path: bytes, mode: int, dev: int) -> None:  # noqa: ARG002
        """Make an ordinary file; others are refused by the union."""
        self._union.make_node(_entry(path), mode, _caller())

    def mkdir(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        self._union.make_directory(_entry(path), mode, _caller())

    def symlink(self, source: bytes, target: bytes) -> None:
        """Make the link `target` that points to `source`."""
        self._union.make_symlink(_entry(target), source, _caller())

    def link(self, source: bytes, target: bytes) -> None:
        """Give `source` the second name `target`."""
        self._union.link(_entry(source), _entry(target))

    def unlink(self, path: bytes) -> None:
        """Remove a file, or close what answers for a hidden one."""
        with self._guard:
            handle = self._hidden.pop(path, None)
        if handle is None:
            self._union.unlink(_entry(path))
        else:
            self._union.release(handle)

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        self._union.rmdir(_entry(path))

    def rename(self, old: bytes, new: bytes) -> None:
        """Move; libfuse asks to move an open file to a hidden name before it is removed or replaced."""
        name = new.rpartition(b"/")[2]
        asked = self._request() if name.startswith(_HIDDEN) else name + b"\0"
        if name + b"\0" in asked:
            self._union.rename(_entry(old), _entry(new))
        else:
            self._hide(old, new, is_replaced=asked[4:8] == _RENAME)

    def _hide(self, path: bytes, hidden: bytes, *, is_replaced: bool) -> None:
        """Let a handle answer for a file under a hidden name; `is_replaced` by what libfuse moves next."""
        handle = self._union.hold(_entry(path))
        try:
            if not is_replaced:
                self._union.unlink(_entry(path))
        except BaseException:
            self._union.release(handle)
            raise
        with self._guard:
            self._hidden[hidden] = handle

    def chmod(self, path: bytes, mode: int) -> None:
        """Set permission bits; of a removed file nobody would see them."""
        if path not in self._hidden:
            self._union.chmod(_entry(path), mode)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        """Set owner and group."""
        if path not in self._hidden:
            owner = -1 if uid == _UNCHANGED else uid
            group = -1 if gid == _UNCHANGED else gid
            self._union.chown(_entry(path), owner, group)

    def utimens(self, path: bytes, times: tuple[Time, Time] | None) -> None:
        """Set times; UTIME_NOW and UTIME_OMIT as in utimensat(2)."""
        if path in self._hidden:
            return
        now = time.time_ns()
        access, modification = times or ((0, _UTIME_NOW), (0, _UTIME_NOW))
        self._union.set_times(_entry(path), _time_ns(access, now), _time_ns(modification, now))

    def statfs(self, path: bytes) -> dict[str, int]:  # noqa: ARG002
        """Return the figures of the disk below the upper directory."""
        found = self._union.statfs()
        names = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail")
        return {name: getattr(found, name) for name in names} | {"f_namemax": 255}

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        """Return a value. The kernel asks for security.capability at each write: there is none."""
        return self._union.get_xattr(_entry(path), name)

    def listxattr(self, path: bytes) -> list[bytes]:
        """Return the names."""
        return self._union.list_xattrs(_entry(path))

    def setxattr(self, path: bytes, name: bytes, value: bytes, options: int) -> None:
        """Set a value."""
        self._union.set_xattr(_entry(path), name, value, options)

    def removexattr(self, path: bytes, name: bytes) -> None:
        """Remove a value."""
        self._union.remove_xattr(_entry(path), name)


def _entry(path: bytes | None) -> bytes:
    """Return the entry path that libfuse's path stands for."""
    return path[1:] if path else b""


def _caller() -> Caller:
    uid, gid, pid = fuse.fuse_get_context()
    return Caller(pid=pid, uid=uid, gid=gid)


def _time_ns(given: Time, now: int) -> int | None:
    seconds, nanoseconds = given
    if nanoseconds == _UTIME_NOW:
        return now
    return None if nanoseconds == _UTIME_OMIT else seconds * _SECOND_NS + nanoseconds
