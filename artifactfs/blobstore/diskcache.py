"""The cache of what was fetched: chunks of objects as files, within one quota, shared by every process of a machine.

A chunk is up to 4 MiB, aligned. Its file is `chunks/<key of the object>.<number>` (`chunkfiles.py`). Nothing has to be
known about the directory: whoever finds a chunk uses it, whoever needs room deletes the ones used longest ago, and an
empty directory is a cache that has nothing.

One process on the machine fetches a chunk: it holds a lock on `<chunk>.part`, which the kernel gives back when it dies,
and for which the others wait. Room is taken before anything is fetched. The bytes go into a file that nobody else may
write to, whoever shares the directory.

Used by the stores that keep what they fetch. Threading: a DiskCache may be shared by threads, and by forked processes.

Source: flock(2), posix_fallocate(3).
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from artifactfs.blobstore.cachequota import PART, Cached, CacheLimits, CacheQuota
from artifactfs.blobstore.chunkfiles import TRAILER_SIZE, OpenChunk, open_chunk, write_chunk
from artifactfs.errors import ArtifactFSError, StorageFullError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

TOUCH_SECONDS: Final = 60.0
LOOK_AGAIN_SECONDS: Final = 1.0
"""For so long an open chunk is taken to be still there: nobody can change one, but its room is to be freed."""
OPEN_COUNT: Final = 128
"""Chunks that stay open."""
SWEEP_SECONDS: Final = 5.0
"""After so long those that others deleted are closed, which frees their room."""


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
        self._opened: LRUCache[str, OpenChunk] = LRUCache(OPEN_COUNT)
        self._swept_at = 0.0
        self._is_told = False

    def open(self, key: str, number: int) -> OpenChunk | None:
        """Return a chunk whose bytes are what its `sha256` says, and that nobody else can change; None without one."""
        found = self._find(key, number)
        return found if found is not None and found.is_sound else None

    def read(self, key: str, number: int, offset: int, size: int) -> bytes | None:
        """Return the overlap of [offset, offset + size) with a chunk, or None when it is not there or damaged.

        One that another user fetched was what it says when this process looked first.
        """
        chunk = self._find(key, number)
        if chunk is None:
            return None
        try:
            if not chunk.is_seen and not self._look(key, number, chunk):
                return None
            return chunk.read(offset, size)
        except OSError as error:
            _log.warning("the cached chunk %s cannot be read: %s", self._path(key, number), error.strerror)
            return None

    def has(self, key: str, number: int) -> bool:
        """Return whether a chunk is there."""
        return os.path.exists(self._path(key, number))

    def require(self, key: str, number: int) -> None:
        """Return if a chunk that was fetched just now is there.

        Raises:
            StorageFullError: it is not: there was no room.
        """
        if not self.has(key, number):
            msg = f"the cache {self.directory} has no room for what is fetched"
            raise StorageFullError(msg, hint="raise cache_size, or free some of the disk", subject=self.directory)

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
            lock = self._lock_part(path)
        except OSError as error:
            self._tell(error)
            return fetch()
        try:
            found = self.read(key, number, 0, size)
            if found is not None and len(found) == size:
                return found
            return self._fill(path, f"{key}.{number}", size, fetch)
        finally:
            _end_part(path, lock)

    def forget(self, key: str, number: int) -> bool:
        """Delete a chunk, and return whether it was there."""
        path = self._path(key, number)
        self._drop(path)
        try:
            size = os.stat(path).st_size
            os.unlink(path)
        except OSError:
            return False
        self.quota.give_back(size)
        return True

    def check(self, chunk: Cached) -> bool:
        """Return whether a chunk is what was fetched; read again, whatever is known of it."""
        self._drop(chunk.path)
        found = self._find(chunk.key, chunk.number)
        return found is not None and self._look(chunk.key, chunk.number, found)

    def _path(self, key: str, number: int) -> str:
        return f"{self.quota.chunks}/{key}.{number}"

    def _find(self, key: str, number: int) -> OpenChunk | None:
        """Return a chunk, open; None when there is none or it is no chunk of this name."""
        path = self._path(key, number)
        now = time.monotonic()
        with self._guard:
            found = self._opened.get(path)
        if found is not None and now - found.looked_at < LOOK_AGAIN_SECONDS:
            return found
        try:
            status = os.stat(path)
            if found is None or found.stamp != (status.st_ino, status.st_mtime_ns):
                found = open_chunk(path, f"{key}.{number}")
        except OSError:
            self._drop(path)
            return None
        if found is None:
            self._remove_damaged(path, status.st_size)
            return None
        found.looked_at = now
        if time.time() - status.st_atime > TOUCH_SECONDS:
            self.quota.touch(path, found.descriptor)
        with self._guard:
            self._opened[path] = found
            if now - self._swept_at > SWEEP_SECONDS:
                self._swept_at = now
                for other in [path for path, chunk in self._opened.items() if chunk.is_deleted()]:
                    del self._opened[other]
        return found

    def _look(self, key: str, number: int, chunk: OpenChunk) -> bool:
        """Read all of a chunk, and delete it unless it is what it says."""
        chunk.is_seen = chunk.is_good()
        if not chunk.is_seen:
            self._remove_damaged(self._path(key, number), chunk.size + TRAILER_SIZE)
        return chunk.is_seen

    def _remove_damaged(self, path: str, size: int) -> None:
        _log.warning("the cached chunk %s is damaged: it is fetched again", path)
        self._drop(path)
        with suppress(OSError):
            os.unlink(path)
        self.quota.give_back(size)

    def _drop(self, path: str) -> None:
        with self._guard:
            self._opened.pop(path, None)

    def _lock_part(self, path: str) -> int:
        """Return a descriptor of the chunk's lock; no other process fetches the chunk now."""
        part = path + PART
        while True:
            descriptor = self.quota.open_file(part)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.stat(part).st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            os.close(descriptor)  # who had the lock has deleted it

    def _fill(self, path: str, name: str, size: int, fetch: Callable[[], bytes]) -> bytes:
        """Fetch a chunk into a file of its own, and give it its name."""
        try:
            data_path, descriptor = self.quota.make_own_file(path)
        except OSError as error:
            self._tell(error)
            return fetch()
        total = size + TRAILER_SIZE
        is_kept = has_room = False
        try:
            has_room = self._take_room(descriptor, total)
            data = fetch()
            is_kept = has_room and self._keep(path, data_path, descriptor, name, data)
        finally:
            if not is_kept:
                with suppress(OSError):
                    os.unlink(data_path)
            os.close(descriptor)
            if has_room and not is_kept:
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

    def _keep(self, path: str, data_path: str, descriptor: int, name: str, data: bytes) -> bool:
        try:
            write_chunk(descriptor, data, name)
            os.rename(data_path, path)
        except OSError as error:
            self._tell(error)
            return False
        return True

    def _tell(self, error: Exception) -> None:
        """Log once that nothing can be kept: reads go on without."""
        if not self._is_told:
            _log.warning("nothing can be kept in the cache %s: %s", self.directory, error)
        self._is_told = True


def _end_part(path: str, descriptor: int) -> None:
    """Delete the lock, and let the next one in; only who holds it may."""
    with suppress(OSError):
        if os.stat(path + PART).st_ino == os.fstat(descriptor).st_ino:
            os.unlink(path + PART)
    os.close(descriptor)
