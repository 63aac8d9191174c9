"""A store in a bucket that keeps on this machine what it fetches, and fetches ahead.

Content is asked for in aligned chunks of 4 MiB, each once, however many threads and processes want it. What is read in
order is fetched ahead, twice as far each time, up to 64 MiB. A lone small file of a pack is asked for by its own range;
the second that is wanted of the same 4 MiB brings these along, so that files that are read in the order of the tree
cost a few large requests.

Only content that is named by its digest is kept: blobs, packs, tree packs and sums. Logs, runs and formats are asked
for each time. Whoever wants to know what the bucket holds, as `check` does, opens objects: nothing of that is kept.

Used by the repository. Threading: may be shared by threads; not by forked processes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import BLOBS_PREFIX, PACKS_PREFIX, SUMS_PREFIX, TREEPACKS_PREFIX
from artifactfs.blobstore.remote import open_remote
from artifactfs.blobstore.retrying import RetryingStore, RetryPolicy
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.blobstore.diskcache import DiskCache
    from artifactfs.blobstore.remote import RemoteObjects

AHEAD_CHUNKS: Final = 16
"""Chunks that are fetched ahead at most: 64 MiB."""
_STREAMS: Final = 256
_TOUCHED: Final = 1 << 14
_RANGES: Final = (BLOBS_PREFIX, PACKS_PREFIX, TREEPACKS_PREFIX)
_NEAR: Final = 2
"""Workers that share a file read its chunks nearly in order."""


@dataclass
class _Stream:
    """How far an object is read in order, and how far it is fetched."""

    last: int
    ahead: int = 0
    horizon: int = 0


class CachingStore(RetryingStore):
    """A bucket of which what was fetched is kept. May be shared by threads.

    Attributes:
        cache: where it is kept.
    """

    def __init__(
        self,
        store: RemoteObjects,
        policy: RetryPolicy,
        *,
        cache: DiskCache,
        spool: str | None = None,
        connections: int = 16,
    ) -> None:
        """Store the bucket and the cache; `connections` is how many chunks are fetched ahead at once."""
        super().__init__(store, policy, spool=spool, connections=connections)
        self.cache = cache
        self._direct = _Direct(self)
        self._count = connections
        self._guard = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._running: dict[tuple[str, int], Future[bytes]] = {}
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._touched: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._sizes: dict[str, int] = {}

    def read(self, key: str) -> bytes:
        """Return a whole object; sums are kept.

        Raises:
            BlobMissingError: there is none under this key.
            RemoteError: retries ran out.
        """
        if not key.startswith(SUMS_PREFIX):
            return super().read(key)
        found = self.cache.read(key, 0, 0, CHUNK_SIZE)
        if found is None:
            data = super().read(key)
            found = self.cache.load(key, 0, len(data), lambda: data) if len(data) <= CHUNK_SIZE else data
        return found

    def open(self, key: str) -> ObjectFile:
        """Return an object as the bucket has it, open for reading; each read is a request, and nothing is kept."""
        return open_remote(self._direct, key)

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Return exactly the bytes [offset, offset + size) of an object, which must have them."""
        if not key.startswith(_RANGES) or size <= 0:
            return self._direct.read_range(key, offset, size)
        end = offset + size
        parts = []
        for number in range(offset // CHUNK_SIZE, -(-end // CHUNK_SIZE)):
            start = number * CHUNK_SIZE
            first, last = max(offset - start, 0), min(end - start, CHUNK_SIZE)
            parts.append(self._read_chunk(key, number, first, last))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def forget_range(self, key: str, offset: int, size: int) -> bool:
        """Drop what is kept of a range, which turned out to be wrong; return whether there was anything."""
        numbers = range(offset // CHUNK_SIZE, -(-(offset + size) // CHUNK_SIZE))
        return sum(self.cache.forget(key, number) for number in numbers) > 0

    def close(self) -> None:
        """Fetch nothing more ahead."""
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    # One chunk

    def _read_chunk(self, key: str, number: int, first: int, last: int) -> bytes:
        """Return the bytes [first, last) of a chunk."""
        found = self.cache.read(key, number, first, last - first)
        if found is not None and len(found) == last - first:
            self._note_read(key, number)
            return found
        start = number * CHUNK_SIZE
        is_blob = key.startswith(BLOBS_PREFIX)
        if not is_blob and self._is_lone(key, number, first):
            return self._direct.read_range(key, start + first, last - first)
        # Blobs are asked for by whole chunks: what is wanted of the last one says how large it is.
        size = last if is_blob and not first else min(CHUNK_SIZE, self._find_size(key) - start)
        if size < last:
            return self._direct.read_range(key, start + first, last - first)  # says what is wrong
        self._note_read(key, number)
        return self._load(key, number, size)[first:last]

    def _is_lone(self, key: str, number: int, first: int) -> bool:
        """Return whether nothing else of a chunk has been wanted."""
        with self._guard:
            before = self._touched.setdefault((key, number), first)
            while len(self._touched) > _TOUCHED:
                self._touched.popitem(last=False)
            return before == first and (key, number) not in self._running

    def _load(self, key: str, number: int, size: int) -> bytes:
        """Return a whole chunk, fetched once for all threads that want it now."""
        with self._guard:
            running = self._running.get((key, number))
            if running is None:
                mine = self._running[key, number] = Future()
        if running is not None:
            return running.result()
        start = number * CHUNK_SIZE
        try:
            data = self.cache.load(key, number, size, partial(self._direct.read_range, key, start, size))
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(data)
        finally:
            with self._guard:
                del self._running[key, number]
        return data

    def _find_size(self, key: str) -> int:
        found = self._sizes.get(key)
        if found is None:
            found = self._sizes[key] = self._direct.find_size(key) or 0
        return found

    # Ahead

    def _note_read(self, key: str, number: int) -> None:
        """Fetch ahead of whoever reads an object in order."""
        with self._guard:
            stream = self._streams.pop(key, None)
            if stream is None or not stream.last - _NEAR <= number <= stream.last + _NEAR:
                stream = _Stream(number, horizon=number)
            elif number > stream.last:
                stream.last = number
                stream.ahead = min(max(stream.ahead * 2, 1), AHEAD_CHUNKS)
            self._streams[key] = stream
            if len(self._streams) > _STREAMS:
                self._streams.popitem(last=False)
            first, stop = max(stream.horizon, stream.last) + 1, stream.last + stream.ahead + 1
            if stop - first < max(stream.ahead // 2, 1):
                return
            stream.horizon = stop - 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._count, "ahead")
            pool = self._pool
        for ahead in range(first, stop):
            with suppress(RuntimeError):  # closed meanwhile
                pool.submit(self._fetch_ahead, key, ahead)

    def _fetch_ahead(self, key: str, number: int) -> None:
        start = number * CHUNK_SIZE
        # Nobody waits for it: who reads it asks again, and is told what is wrong.
        with suppress(ArtifactFSError):
            size = min(CHUNK_SIZE, self._find_size(key) - start)
            if size > 0 and not self.cache.has(key, number):
                self._load(key, number, size)


class _Direct:
    """The bucket itself, tried again where it fails."""

    def __init__(self, store: CachingStore) -> None:
        self._store = store

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        return RetryingStore.read_range(self._store, key, offset, size)

    def find_size(self, key: str) -> int | None:
        return self._store.find_size(key)
