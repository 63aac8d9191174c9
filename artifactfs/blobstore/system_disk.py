"""The operations of `Disk` on the local file system.

Used by `local.py`. Threading: stateless but for one descriptor, which is opened under a lock, so it may be shared.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.blobstore.disk import OBJECT_MODE
from artifactfs.blobstore.writeback import Writeback, find_writeback

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.blobstore.base import ObjectFile


FICLONE = 0x40049409
"""_IOW(0x94, 9, int), linux/fs.h."""

CANNOT_CLONE = frozenset(
    {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EBADF, errno.ETXTBSY}
)

_SIGNATURE_FIELDS = 5

RENAME_NOREPLACE = 1

AT_FDCWD = -100


def pack_signature(status: os.stat_result) -> bytes:
    """Return device, inode, size and both times of a file as bytes."""
    return b"%x.%x.%x.%x.%x" % (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


class LocalFile:
    """An open local file. Reads may come from several threads; `pread` shares no position."""

    __slots__ = ("_descriptor", "_signature", "size")

    def __init__(self, descriptor: int, status: os.stat_result) -> None:
        self._descriptor = descriptor
        self._signature = pack_signature(status)
        self.size = status.st_size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the file."""
        data = os.pread(self._descriptor, size, offset)
        if len(data) == size or offset + len(data) >= self.size:
            return data
        return data + self._read_rest(offset + len(data), size - len(data))

    def _read_rest(self, offset: int, size: int) -> bytes:
        # pread(2) may return less than asked, and never returns more than 0x7ffff000 bytes.
        parts: list[bytes] = []
        while size > 0 and (data := os.pread(self._descriptor, size, offset)):
            parts.append(data)
            offset, size = offset + len(data), size - len(data)
        return b"".join(parts)

    def extent(self) -> tuple[int, int] | None:
        """Return the descriptor, and 0."""
        return self._descriptor, 0

    def signature(self) -> bytes:
        """Return the signature the file had when it was opened."""
        return self._signature

    def close(self) -> None:
        """Close the descriptor."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class SystemDisk:
    """The operating system's file system that holds `root`. May be shared by threads."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._library = ctypes.CDLL(None, use_errno=True)
        self._begin_writing = find_writeback(self._library)
        self._descriptor = -1
        self._guard = threading.Lock()
        self._can_clone = sys.platform.startswith("linux")

    def close(self) -> None:
        """Close the descriptor; the next write opens it again."""
        with self._guard:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read_file(self, path: str) -> bytes:
        """Return all bytes of a file."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while data := os.read(descriptor, 1 << 20):
                parts.append(data)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            os.close(descriptor)

    def open_file(self, path: str) -> ObjectFile:
        """Return a file, open for reading."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return LocalFile(descriptor, os.fstat(descriptor))

    def find_size(self, path: str) -> int | None:
        """Return the size of a file, or None when there is none."""
        try:
            return os.stat(path).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def has_root(self, path: str) -> bool:
        """Return whether the directory of the store itself is still there."""
        return os.path.isdir(path)

    def find_signature(self, path: str) -> bytes:
        """Return the signature of a file."""
        try:
            return pack_signature(os.stat(path))
        except OSError:
            return b""

    def list_directory(self, path: str) -> list[tuple[str, bool]]:
        """Return name and whether it is a directory, for each entry."""
        try:
            with os.scandir(path) as entries:
                return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def has_file(self, path: str) -> bool:
        """Return whether there is a file in a directory, or below it. Reads no more than it must."""
        directories = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        return True
                    directories.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return any(map(self.has_file, directories))

    def create_file(self, path: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Make a new file with these bytes and return its size."""
        self._open_root()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OBJECT_MODE)
        try:
            size = _write_all(descriptor, chunks, Writeback(self._begin_writing, descriptor))
        except BaseException:
            os.close(descriptor)
            os.unlink(path)
            raise
        os.close(descriptor)
        return size

    def clone_file(self, path: str, descriptor: int) -> int | None:
        """Make a new file that shares the blocks of an open one, and return its size.

        Source: ioctl_ficlone(2). It takes the content at one moment, also while somebody writes.
        """
        if not self._can_clone:
            return None
        self._open_root()
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OBJECT_MODE)
        try:
            fcntl.ioctl(target, FICLONE, descriptor)
            return os.fstat(target).st_size
        except OSError as error:
            os.unlink(path)
            if error.errno not in CANNOT_CLONE:
                raise
            # Another file system says nothing of this one, and EINVAL may be one file's.
            self._can_clone = error.errno in (errno.EXDEV, errno.EINVAL, errno.ETXTBSY)
            return None
        finally:
            os.close(target)

    def make_directory(self, path: str) -> bool:
        """Make a directory and return whether this call made it."""
        try:
            os.mkdir(path)
        except FileExistsError:
            return False
        return True

    def rename_new(self, source: str, target: str) -> bool:
        """Rename a file unless `target` exists.

        Source: renameat2(2); where a file system does not know the flag, link(2) and unlink(2).
        """
        try:
            os.link(source, target)
        except FileExistsError:
            return False
        os.unlink(source)
        return True

    def replace(self, source: str, target: str) -> None:
        """Rename a file over `target`."""
        os.replace(source, target)

    def remove(self, path: str) -> None:
        """Remove a file; a missing one is not an error."""
        with suppress(FileNotFoundError):
            os.unlink(path)

    def remove_directory(self, path: str) -> None:
        """Remove a directory if it is there and empty."""
        with suppress(OSError):
            os.rmdir(path)

    def sync_file(self, path: str) -> None:
        """Make the bytes of a file durable."""
        _sync(path, os.O_RDONLY)

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)

    def sync_all(self) -> bool:
        """Make everything on the file system durable."""
        if not sys.platform.startswith("linux"):
            return False
        if self._library.syncfs(self._open_root()) != 0:
            code = ctypes.get_errno()
            if code == errno.ENOSYS:
                return False
            raise OSError(code, os.strerror(code), self._root)
        return True

    def _open_root(self) -> int:
        """Return a descriptor of the root that is older than all that was written here.

        syncfs(2) reports the errors of writes since its descriptor was opened (Linux 5.8): of one that is opened later,
        an error that another program was told of meanwhile is not reported again.
        """
        with self._guard:
            if self._descriptor < 0:
                self._descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return self._descriptor


def _sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, chunks: Iterable[bytes | memoryview], writeback: Writeback) -> int:
    size = 0
    for chunk in chunks:
        written = os.write(descriptor, chunk)
        while written < len(chunk):  # write(2) may take less than it was given
            written += os.write(descriptor, memoryview(chunk)[written:])
        size += written
        writeback.wrote(size)
    return size
