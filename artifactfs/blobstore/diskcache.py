"""The cache of what was fetched: chunks of objects as files, within one quota, shared by every process of a machine.

A chunk is up to 4 MiB, aligned. Its file is `chunks/<key of the object>.<number>` and holds the bytes and their
SHA-256, so that what a loss of power left is found. Nothing has to be known about the directory: whoever finds a chunk
uses it, whoever needs room deletes the ones used longest ago, and an empty directory is a cache that has nothing.

One process on the machine fetches a chunk: it holds a lock on `<chunk>.part`, which the kernel gives back when it dies,
and for which the others wait. Room is taken before anything is fetched.

Used by the stores that keep what they fetch. Threading: a DiskCache may be shared by threads, and by forked processes.

Source: flock(2), posix_fallocate(3).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.cachequota import PART, TRAILER_SIZE, Cached, CacheLimits, CacheQuota
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_TOUCH_SECONDS: Final = 60.0
_KNOWN_LIMIT: Final = 1 << 16


class DiskCache:
    """Chunks in a directory. May be shared by threads and by forked processes.

    Attributes:
        directory: where.
        quota: how much is kept.
    """

    def __init__(self, directory: str, limits: CacheLimits) -> None:
        self.directory = directory
        self.quota = CacheQuota(directory, limits)
        self._guard = threading.Lock()
        self._known: dict[str, int] = {}
        self._is_told = False

    def read(self, key: str, number: int, offset: int, size: int) -> bytes | None:
        """Return the overlap of [offset, offset + size) with a chunk, or None when it is not there or damaged."""
        path = self._path(key, number)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return self._read_open(path, descriptor, offset, size)
        except OSError as error:
            _log.warning("the cached chunk %s cannot be read: %s", path, error.strerror)
            return None
        finally:
            os.close(descriptor)

    def has(self, key: str, number: int) -> bool:
        """Return whether a chunk is there."""
        return os.path.exists(self._path(key, number))

    def load(self, key: str, number: int, size: int, fetch: Callable[[], bytes]) -> bytes:
        """Return a whole chunk: kept, or fetched by this or another process, and then kept if there is room.

        Args:
            key: of the object.
            number: of the chunk.
            size: its bytes.
            fetch: returns exactly these bytes.

        Raises:
            ArtifactFSError: what `fetch` raises. That nothing can be kept is no error.
        """
        path = self._path(key, number)
        try:
            descriptor = self._lock_part(path)
        except OSError as error:
            self._tell(error)
            return fetch()
        try:
            found = self.read(key, number, 0, size)
            if found is not None and len(found) == size:
                return found
            return self._fill(path, descriptor, size, fetch)
        finally:
            _end_part(path, descriptor)

    def forget(self, key: str, number: int) -> bool:
        """Delete a chunk, and return whether it was there."""
        try:
            size = os.stat(self._path(key, number)).st_size
            os.unlink(self._path(key, number))
        except OSError:
            return False
        self.quota.give_back(size)
        return True

    def check(self, chunk: Cached) -> bool:
        """Return whether a chunk is what was fetched; read again, whatever is known of it."""
        with self._guard:
            self._known.pop(chunk.path, None)
        return self.read(chunk.key, chunk.number, 0, chunk.size) is not None

    def _path(self, key: str, number: int) -> str:
        return f"{self.quota.chunks}/{key}.{number}"

    def _read_open(self, path: str, descriptor: int, offset: int, size: int) -> bytes | None:
        status = os.fstat(descriptor)
        length = status.st_size - TRAILER_SIZE
        is_old = time.time() - status.st_mtime > _TOUCH_SECONDS
        if is_old:
            with suppress(OSError):
                os.utime(descriptor)
        if self._known.get(path) != status.st_ino:
            data = os.pread(descriptor, status.st_size, 0)
            if length < 0 or hashlib.sha256(data[:length]).digest() != data[length:]:
                _log.warning("the cached chunk %s is damaged: it is fetched again", path)
                with suppress(OSError):
                    os.unlink(path)
                self.quota.give_back(status.st_size)
                return None
            self._remember(path, status.st_ino)
            return data[offset : min(offset + size, length)]
        return os.pread(descriptor, max(min(size, length - offset), 0), offset)

    def _remember(self, path: str, inode: int) -> None:
        """Take a chunk's file as verified for the life of this process."""
        with self._guard:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            self._known[path] = inode

    def _lock_part(self, path: str) -> int:
        """Return a descriptor of the chunk's temporary file, locked; no other process fetches the chunk now."""
        part = path + PART
        while True:
            descriptor = self.quota.open_file(part)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.stat(part).st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            os.close(descriptor)  # who had the lock has renamed or deleted it

    def _fill(self, path: str, descriptor: int, size: int, fetch: Callable[[], bytes]) -> bytes:
        total = size + TRAILER_SIZE
        if not self._take_room(descriptor, total):
            return fetch()
        is_kept = False
        try:
            data = fetch()
            is_kept = self._keep(path, descriptor, data)
        finally:
            if not is_kept:
                self.quota.give_back(total)
        return data

    def _take_room(self, descriptor: int, size: int) -> bool:
        try:
            if not self.quota.reserve(size, descriptor):
                return False
        except (ArtifactFSError, OSError) as error:
            self._tell(error)
            return False
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            self._tell(error)
            self.quota.give_back(size)
            return False
        return True

    def _keep(self, path: str, descriptor: int, data: bytes) -> bool:
        try:
            os.pwritev(descriptor, [data, hashlib.sha256(data).digest()], 0)
            os.ftruncate(descriptor, len(data) + TRAILER_SIZE)
            os.rename(path + PART, path)
        except OSError as error:
            self._tell(error)
            return False
        self._remember(path, os.fstat(descriptor).st_ino)
        return True

    def _tell(self, error: Exception) -> None:
        """Log once that nothing can be kept: reads go on without."""
        if not self._is_told:
            _log.warning("nothing can be kept in the cache %s: %s", self.directory, error)
        self._is_told = True


def _end_part(path: str, descriptor: int) -> None:
    """Delete a temporary file unless it was renamed, and let the next one in; only who holds the lock may."""
    with suppress(OSError):
        if os.stat(path + PART).st_ino == os.fstat(descriptor).st_ino:
            os.unlink(path + PART)
    os.close(descriptor)


def chunk_count(size: int) -> int:
    """Return how many chunks an object of so many bytes has."""
    return -(-size // CHUNK_SIZE)
