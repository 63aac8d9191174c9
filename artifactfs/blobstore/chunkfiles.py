"""The files of chunks in a cache: the bytes, and after them what they are and for whom that is so without being read.

    bytes | SHA-256 of the bytes | first half of the SHA-256 of the chunk's name | boot | time (int64, ns)

A chunk is *sound* when its bytes are known to hash to what its end says. Whoever fetched it knows; everybody else finds
it out by reading it once, or takes it from these marks: the file belongs to the reader (or root) and nobody else may
write to it, the machine was not started since it was written (a loss of power keeps names and loses bytes), its
modification time is the one written down (whatever writes to it changes that), and it is called what it was called.

Used by `diskcache`. Threading: an OpenChunk may be shared by threads; it is closed when nobody refers to it.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from contextlib import suppress
from functools import cache
from typing import Final, NamedTuple

from artifactfs.blobstore.packs import WINDOW_SIZE

_TRAILER: Final = struct.Struct("!32s16s16sq")
TRAILER_SIZE: Final = _TRAILER.size
_MARKS_AT: Final = 48
"""Of boot and time in these."""
_TICK_NS: Final = 2_000_000_000
"""Every file system keeps even seconds as they are."""
_OTHERS_WRITE: Final = 0o022
_BOOT: Final = "/proc/sys/kernel/random/boot_id"


class OpenChunk:
    """A chunk, open.

    Attributes:
        descriptor: of its file; its bytes begin at 0.
        size: bytes.
        sha256: what its end says that they hash to.
        is_sound: whether they do, and nobody but this user can change that.
        is_seen: whether they did when this process looked.
        looked_at: when it was last compared with what lies under its name.
        stamp: inode and modification time of its file.
    """

    __slots__ = ("_windows", "descriptor", "is_seen", "is_sound", "looked_at", "sha256", "size", "stamp")

    def __init__(self, descriptor: int, status: os.stat_result, *, sha256: bytes) -> None:
        self.descriptor = descriptor
        self.size = status.st_size - TRAILER_SIZE
        self.stamp = (status.st_ino, status.st_mtime_ns)
        self.sha256 = sha256
        self.is_sound = False
        self.is_seen = False
        self.looked_at = time.monotonic()
        self._windows: dict[int, int | None] = {}

    def read_ahead(self, offset: int) -> None:
        """Have the neighbours of a file brought into memory, if this is the second of them that is read.

        As with packs on this machine: several processes read one by one, so the kernel sees no sequence.
        """
        window = offset // WINDOW_SIZE
        first = self._windows.setdefault(window, offset)
        if first is None or first == offset or not hasattr(os, "posix_fadvise"):  # macOS
            return
        self._windows[window] = None
        with suppress(OSError):
            os.posix_fadvise(self.descriptor, window * WINDOW_SIZE, WINDOW_SIZE, os.POSIX_FADV_WILLNEED)

    def is_deleted(self) -> bool:
        """Return whether its file has no name any more, so that its room is free once it is closed."""
        try:
            return os.fstat(self.descriptor).st_nlink == 0
        except OSError:
            return True

    def read(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the chunk, as it is in the file."""
        return os.pread(self.descriptor, max(min(size, self.size - offset), 0), offset)

    def is_good(self) -> bool:
        """Read all of it, and return whether it is what its end says."""
        data = os.pread(self.descriptor, self.size, 0)
        return hashlib.sha256(data).digest() == self.sha256

    def __del__(self) -> None:
        """Close: a chunk is never closed under a reader."""
        with suppress(OSError):
            os.close(self.descriptor)


def write_chunk(descriptor: int, data: bytes, name: str) -> None:
    """Write a chunk into an empty or longer file of this process, with all marks.

    Raises:
        OSError: there is no room, or the disk fails.
    """
    now_ns = time.time_ns()
    time_ns = now_ns // _TICK_NS * _TICK_NS
    end = _TRAILER.pack(hashlib.sha256(data).digest(), _hash_name(name), _find_boot(), time_ns)
    os.pwritev(descriptor, [data, end], 0)
    os.ftruncate(descriptor, len(data) + TRAILER_SIZE)
    os.utime(descriptor, ns=(now_ns, time_ns))


def open_chunk(path: str, name: str) -> OpenChunk | None:
    """Return the chunk in a file; None when it is not what it says it is.

    A chunk of this user without the marks is read, and marked. One of others is not sound, whatever it says.

    Raises:
        OSError: it is not there or cannot be read.
    """
    found = _open(path)
    if found is None:
        return None
    chunk, marks = found
    if marks.name != _hash_name(name):
        return None
    is_own = marks.status.st_uid in (os.geteuid(), 0) and not marks.status.st_mode & _OTHERS_WRITE
    is_marked = marks.boot == _find_boot() and marks.time_ns == marks.status.st_mtime_ns
    if is_own and not is_marked:
        if not chunk.is_good():
            return None
        _mark(path, chunk, marks.status)
    chunk.is_sound = chunk.is_seen = is_own
    return chunk


class _Marks(NamedTuple):
    status: os.stat_result
    name: bytes
    boot: bytes
    time_ns: int


def _open(path: str) -> tuple[OpenChunk, _Marks] | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        end = os.pread(descriptor, TRAILER_SIZE, max(status.st_size - TRAILER_SIZE, 0))
    except BaseException:
        os.close(descriptor)
        raise
    if len(end) != TRAILER_SIZE:
        os.close(descriptor)
        return None
    sha256, name, boot, time_ns = _TRAILER.unpack(end)
    return OpenChunk(descriptor, status, sha256=sha256), _Marks(status, name, boot, time_ns)


def use_chunk(descriptor: int) -> None:
    """Note that the chunk in an open file is used now: its access time says so, its modification time stays.

    Raises:
        OSError: it belongs to somebody else.
    """
    os.utime(descriptor, ns=(time.time_ns(), os.fstat(descriptor).st_mtime_ns))


def _mark(path: str, chunk: OpenChunk, status: os.stat_result) -> None:
    """Write down that a chunk was read and found good, for as long as the machine runs."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            found = os.fstat(descriptor)
            if (found.st_ino, found.st_mtime_ns) != chunk.stamp:
                return
            time_ns = time.time_ns() // _TICK_NS * _TICK_NS
            os.pwrite(descriptor, struct.pack("!16sq", _find_boot(), time_ns), chunk.size + _MARKS_AT)
            os.utime(descriptor, ns=(status.st_atime_ns, time_ns))
            chunk.stamp = (found.st_ino, time_ns)
        finally:
            os.close(descriptor)


def _hash_name(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:16]


@cache
def _find_boot() -> bytes:
    """Return what tells this start of the machine from others; without such a thing, this process from others."""
    try:
        with open(_BOOT, "rb") as file:
            return hashlib.sha256(file.read()).digest()[:16]
    except OSError:
        return os.urandom(16)
