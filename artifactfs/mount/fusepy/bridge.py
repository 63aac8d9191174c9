"""fusepy's `FUSE` with bytes for names, and with the marshalling that costs most done by hand.

fusepy decodes every path, so one name that is not UTF-8 breaks the listing of its directory; it builds a dict for
every stat and copies it field by field; it gives `create` no flags and reads UTIME_OMIT as a time. The methods here
replace its own, take what libfuse passes, and call `operations(name, ...)` with plain Python values.

Used by `transport`.

Threading: libfuse calls from many threads at once; what is kept belongs to one thread each.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import fuse

from artifactfs.paths import printable

if TYPE_CHECKING:
    from artifactfs.mount.fusepy.turns import Turns
    from artifactfs.mount.wakeups import Wakeups

# Any bytes survive decoding and encoding with it; fusepy uses it for the mount options and the mount point.
_BYTES_ENCODING: Final = "latin-1"
_KEPT_THREADS: Final = 128
_log = logging.getLogger(__name__)


class Filled(Protocol):
    """What `fill_stat` needs to know of a file."""

    @property
    def node(self) -> int:
        """The inode number."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def mtime_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""

    @property
    def nlink(self) -> int:
        """Number of names."""


def fill_stat(target: Any, source: Filled, *, mode: int, uid: int, gid: int) -> None:
    """Fill a `struct stat` that libfuse has zeroed; `mode` includes the file type.

    Access and change times are the modification time.

    Source: stat(2); lib/fuse.c of libfuse 2.9 zeroes the buffer before lookup and getattr.
    """
    seconds, nanoseconds = divmod(source.mtime_ns, 1_000_000_000)
    target.st_ino = source.node
    target.st_mode = mode
    target.st_nlink = source.nlink
    target.st_uid = uid
    target.st_gid = gid
    target.st_size = source.size
    target.st_blksize = 131072
    target.st_blocks = (source.size + 511) >> 9
    for spec in (target.st_atimespec, target.st_mtimespec, target.st_ctimespec):
        spec.tv_sec = seconds
        spec.tv_nsec = nanoseconds


def as_option_text(value: bytes) -> str:
    """Return bytes as the text that fusepy encodes back to the same bytes."""
    return value.decode(_BYTES_ENCODING)


class _OtherMain:
    """Stands for libfuse until fusepy calls its main loop, and serves with `turns` instead."""

    def __init__(self, library: Any, turns: Turns) -> None:
        self._library = library
        self._turns = turns

    def fuse_main_real(self, *arguments: Any) -> int:
        """Do what libfuse's function of this name does."""
        fuse._libfuse = self._library  # noqa: SLF001 - as above
        return self._turns.serve(self._library, arguments[:-1])


class Bridge(fuse.FUSE):  # type: ignore[misc]
    """Serves `operations` on `mountpoint` until it is unmounted; constructing it is what blocks.

    Threading: construct it in the main thread; libfuse makes its own threads.
    """

    def __init__(
        self,
        operations: Any,
        mountpoint: bytes,
        *,
        wakeups: Wakeups,
        turns: Turns | None = None,
        **options: str | int | bool,
    ) -> None:
        """Mount and serve, in libfuse's loop or by `turns`. The options are libfuse's; True is one without a value."""
        self._thread = threading.local()
        self._kept_count = 0
        self._note = wakeups.note
        self._is_debugged = _log.isEnabledFor(logging.DEBUG)
        if turns is not None:
            fuse._libfuse = _OtherMain(fuse._libfuse, turns)  # noqa: SLF001 - fusepy leaves no other way
        super().__init__(operations, as_option_text(mountpoint), encoding=_BYTES_ENCODING, **options)

    def _wrapper(self, function: Callable[..., int], *arguments: Any) -> int:
        """Call one of the methods below for libfuse; return what it returns or a negative errno.

        Errors were made errno by `operations`; anything else is a bug in this class.
        """
        if not hasattr(self._thread, "is_kept"):
            self._keep_thread()
        self._note()
        if self._is_debugged:
            return self._call_debugged(function, *arguments)
        return self._call(function, *arguments)

    def _call_debugged(self, function: Callable[..., int], *arguments: Any) -> int:
        start_ns = time.perf_counter_ns()
        found = self._call(function, *arguments)
        path = arguments[0] if arguments and isinstance(arguments[0], bytes) else b"-"
        microseconds = (time.perf_counter_ns() - start_ns) // 1000
        _log.debug(
            "%s path=%s error=%d %d us", function.__name__.upper(), printable(path), -min(found, 0), microseconds
        )
        return found

    def _call(self, function: Callable[..., int], *arguments: Any) -> int:
        try:
            return function(*arguments)
        except OSError as error:
            return -(error.errno or errno.EIO)
        except BaseException:  # noqa: BLE001  (an exception that crossed into C would be lost)
            _log.exception("%s failed unexpectedly", function.__name__)
            return -errno.EIO

    def _keep_thread(self) -> None:
        """Keep Python's state of a thread of libfuse's from one call to the next.

        ctypes makes and frees it around each callback (PyGILState_Ensure and _Release), with an mmap each time: 7.5
        microseconds, against 0.14 when it is there. One more Ensure keeps it. What an ended thread leaves, some 20 KiB,
        is lost, hence the limit: libfuse ends threads when more than ten are idle.
        """
        self._thread.is_kept = True
        if self._kept_count < _KEPT_THREADS:
            self._kept_count += 1
            ctypes.pythonapi.PyGILState_Ensure()

    def getattr(self, path: bytes, buf: Any) -> int:
        """Fill `buf`."""
        return self.operations("getattr", path, None, buf.contents) or 0

    def fgetattr(self, path: bytes | None, buf: Any, fip: Any) -> int:
        """Fill `buf` for an open file; `path` is None when it was unlinked."""
        return self.operations("getattr", path, fip.contents.fh if fip else None, buf.contents) or 0

    def readlink(self, path: bytes, buf: Any, bufsize: int) -> int:
        """Write the target and a NUL, cut to `bufsize`."""
        target = self.operations("readlink", path)[: bufsize - 1] + b"\0"
        ctypes.memmove(buf, target, len(target))
        return 0

    def readdir(self, path: bytes | None, buf: Any, filler: Any, offset: int, fip: Any) -> int:  # noqa: ARG002
        """List a directory whole: libfuse keeps the listing until the directory is closed or rewound."""
        entry = fuse.c_stat()
        for name, node, mode in self.operations("readdir", path, fip.contents.fh):
            entry.st_ino = node
            entry.st_mode = mode
            if filler(buf, name, entry, 0):
                return -errno.ENOMEM
        return 0

    def open(self, path: bytes, fip: Any) -> int:
        """Open a file; the operation returns the handle."""
        fip.contents.fh = self.operations("open", path, fip.contents.flags)
        return 0

    def create(self, path: bytes, mode: int, fip: Any) -> int:
        """Create and open a file; the operation returns the handle."""
        fip.contents.fh = self.operations("create", path, mode, fip.contents.flags)
        return 0

    def opendir(self, path: bytes, fip: Any) -> int:
        """Open a directory; the operation returns the handle."""
        fip.contents.fh = self.operations("opendir", path)
        return 0

    def read(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:
        """Copy up to `size` bytes into `buf`."""
        data = self.operations("read", path, size, offset, fip.contents.fh)
        length = len(data)
        if length > size:
            return -errno.EIO
        ctypes.memmove(buf, data, length)
        return length

    def write(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:
        """Write `size` bytes from `buf`."""
        data = ctypes.string_at(buf, size)
        written: int = self.operations("write", path, data, offset, fip.contents.fh)
        return written

    def flush(self, path: bytes | None, fip: Any) -> int:
        """One descriptor of an open file was closed."""
        return self.operations("flush", path, fip.contents.fh) or 0

    def release(self, path: bytes | None, fip: Any) -> int:
        """The last descriptor of an open file was closed."""
        return self.operations("release", path, fip.contents.fh) or 0

    def fsync(self, path: bytes | None, datasync: int, fip: Any) -> int:
        """Make a file durable."""
        return self.operations("fsync", path, datasync, fip.contents.fh) or 0

    def releasedir(self, path: bytes | None, fip: Any) -> int:
        """Close a directory."""
        return self.operations("releasedir", path, fip.contents.fh) or 0

    def fsyncdir(self, path: bytes | None, datasync: int, fip: Any) -> int:
        """Make a directory durable."""
        return self.operations("fsyncdir", path, datasync, fip.contents.fh) or 0

    def statfs(self, path: bytes, buf: Any) -> int:
        """Fill `buf` from a mapping of the fields' names."""
        for key, value in self.operations("statfs", path).items():
            setattr(buf.contents, key, value)
        return 0

    def getxattr(self, path: bytes, name: bytes, value: Any, size: int, *_: int) -> int:
        """Copy an extended attribute's value, or return its size when `size` is 0."""
        return _give(self.operations("getxattr", path, name), value, size)

    def listxattr(self, path: bytes, namebuf: Any, size: int) -> int:
        """Copy the names of extended attributes, or return their size when `size` is 0."""
        names = self.operations("listxattr", path)
        return _give(b"".join(name + b"\0" for name in names), namebuf, size)

    def setxattr(self, path: bytes, name: bytes, value: Any, size: int, options: int, *_: int) -> int:
        """Set an extended attribute."""
        return self.operations("setxattr", path, name, ctypes.string_at(value, size), options) or 0

    def removexattr(self, path: bytes, name: bytes) -> int:
        """Remove an extended attribute."""
        return self.operations("removexattr", path, name) or 0

    def mknod(self, path: bytes, mode: int, dev: int) -> int:
        """Make a file that is not opened."""
        return self.operations("mknod", path, mode, dev) or 0

    def mkdir(self, path: bytes, mode: int) -> int:
        """Make a directory."""
        return self.operations("mkdir", path, mode) or 0

    def unlink(self, path: bytes) -> int:
        """Remove a name."""
        return self.operations("unlink", path) or 0

    def rmdir(self, path: bytes) -> int:
        """Remove an empty directory."""
        return self.operations("rmdir", path) or 0

    def symlink(self, source: bytes, target: bytes) -> int:
        """Make the symbolic link `target` that points to `source`: libfuse's names."""
        return self.operations("symlink", source, target) or 0

    def rename(self, old: bytes, new: bytes) -> int:
        """Move `old` over `new`."""
        return self.operations("rename", old, new) or 0

    def link(self, source: bytes, target: bytes) -> int:
        """Give the file `source` the second name `target`: libfuse's names."""
        return self.operations("link", source, target) or 0

    def chmod(self, path: bytes, mode: int) -> int:
        """Set permission bits."""
        return self.operations("chmod", path, mode) or 0

    def chown(self, path: bytes, uid: int, gid: int) -> int:
        """Set owner and group; 2**32 - 1 leaves one as it is."""
        return self.operations("chown", path, uid, gid) or 0

    def truncate(self, path: bytes, length: int) -> int:
        """Set the size of a file by name."""
        return self.operations("truncate", path, length, None) or 0

    def ftruncate(self, path: bytes | None, length: int, fip: Any) -> int:
        """Set the size of an open file."""
        return self.operations("truncate", path, length, fip.contents.fh) or 0

    def utimens(self, path: bytes, buf: Any) -> int:
        """Set access and modification time, each as (seconds, nanoseconds); UTIME_NOW and UTIME_OMIT come through."""
        if not buf:
            return self.operations("utimens", path, None) or 0
        times = buf.contents
        access, modification = times.actime, times.modtime
        pair = (access.tv_sec, access.tv_nsec), (modification.tv_sec, modification.tv_nsec)
        return self.operations("utimens", path, pair) or 0

    def init(self, conn: int) -> int:  # noqa: ARG002
        """The kernel is ready to ask."""
        self.operations("init")
        return 0


def _give(data: bytes, buffer: Any, size: int) -> int:
    """Copy an extended attribute into `buffer`, or only return its size when none was given.

    Source: getxattr(2).
    """
    if not size or not buffer:
        return len(data)
    if len(data) > size:
        return -errno.ERANGE
    ctypes.memmove(buffer, data, len(data))
    return len(data)
