"""Reading objects elsewhere by chunks that are kept on this machine, each fetched once, and fetched ahead.

Used by the store of a bucket and by references. Threading: a ChunkReader may be shared by threads; not by forked
processes once it has fetched.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.blobstore.diskcache import DiskCache

AHEAD_CHUNKS: Final = 16
"""Chunks that are fetched ahead at most: 64 MiB."""
_STREAMS: Final = 256
_NEAR: Final = 2
"""Workers that share a file read its chunks nearly in order."""


class Fetching(Protocol):
    """Where bytes come from."""

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Return exactly the bytes [offset, offset + size) of an object, which must have them."""

    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None when there is none."""

    def find_known_size(self, key: str) -> int | None:
        """Return the same if that needs nobody to be asked, else None."""


@dataclass
class _Stream:
    """How far an object is read in order, and how far it is fetched."""

    last: int
    ahead: int = 0
    horizon: int = 0


class ChunkReader:
    """Chunks of objects elsewhere. May be shared by threads.

    Attributes:
        cache: where they are kept.
    """

    def __init__(self, cache: DiskCache, source: Fetching, *, connections: int) -> None:
        """Store the cache, where bytes come from, and how many chunks are fetched ahead at once."""
        self.cache = cache
        self._source = source
        self._count = connections
        self._guard = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._running: dict[tuple[str, int], Future[bytes]] = {}
        self._streams: OrderedDict[str, _Stream] = OrderedDict()

    def find(self, key: str, number: int, first: int, last: int) -> bytes | None:
        """Return the bytes [first, last) of a chunk if they are kept, else None."""
        found = self.cache.read(key, number, first, last - first)
        if found is None or len(found) != last - first:
            return None
        self.note_read(key, number)
        return found

    def is_running(self, key: str, number: int) -> bool:
        """Return whether this process fetches a chunk now."""
        with self._guard:
            return (key, number) in self._running

    def load(self, key: str, number: int, size: int) -> bytes:
        """Return a whole chunk, fetched once for all threads that want it now.

        Raises:
            ArtifactFSError: it could not be fetched.
        """
        with self._guard:
            running = self._running.get((key, number))
            if running is None:
                mine = self._running[key, number] = Future()
        if running is not None:
            return running.result()
        start = number * CHUNK_SIZE
        try:
            data = self.cache.load(key, number, size, partial(self._source.read_range, key, start, size))
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(data)
        finally:
            with self._guard:
                del self._running[key, number]
        return data

    def note_read(self, key: str, number: int) -> None:
        """Fetch ahead of whoever reads an object in order."""
        with self._guard:
            stream = self._streams.pop(key, None)
            if stream is None or not stream.last - _NEAR <= number <= stream.last + _NEAR:
                stream = _Stream(number, horizon=number)
            elif number > stream.last:
                stream.last = number
                stream.ahead = min(max(stream.ahead * 2, 1), AHEAD_CHUNKS)
            self._keep_stream(key, stream)
            first, stop = max(stream.horizon, stream.last) + 1, stream.last + stream.ahead + 1
            if stop - first < max(stream.ahead // 2, 1):
                return
            stream.horizon = stop - 1
        self._begin(key, range(first, stop))

    def find_left(self, key: str) -> int:
        """Return how many chunks more than an object has are to be fetched of what follows it; 0 when none are.

        Not 0 for an object that is read in order, near its end.
        """
        size = self._source.find_known_size(key)
        with self._guard:
            stream = self._streams.get(key)
        if not size or stream is None:
            return 0
        return max(stream.last + stream.ahead - (size - 1) // CHUNK_SIZE, 0)

    def begin(self, key: str, count: int) -> None:
        """Fetch the first `count` chunks of an object that will be read in order next."""
        with self._guard:
            stream = self._streams.pop(key, None) or _Stream(-1, ahead=AHEAD_CHUNKS, horizon=-1)
            self._keep_stream(key, stream)
            first, stop = stream.horizon + 1, min(count, AHEAD_CHUNKS)
            if stream.last >= 0 or stop - first < max(stop // 4, 1):
                return
            stream.horizon = stop - 1
        self._begin(key, range(first, stop))

    def begin_all(self, key: str, size: int) -> None:
        """Fetch all chunks of an object of `size` bytes that are not kept."""
        self._begin(key, range(-(-size // CHUNK_SIZE)))

    def _keep_stream(self, key: str, stream: _Stream) -> None:
        self._streams[key] = stream
        if len(self._streams) > _STREAMS:
            self._streams.popitem(last=False)

    def _begin(self, key: str, numbers: Iterable[int]) -> None:
        with self._guard:
            pool = self._get_pool()
        for number in numbers:
            with suppress(RuntimeError):  # closed meanwhile
                pool.submit(self._fetch_ahead, key, number)

    def want(self, key: str, number: int, size: int) -> None:
        """Begin to fetch a chunk of `size` bytes that will be read next, unless it is kept."""
        if self.cache.has(key, number):
            return
        with self._guard:
            pool = self._get_pool()
        with suppress(RuntimeError):  # closed meanwhile
            pool.submit(self._try_load, key, number, size)

    def close(self) -> None:
        """Fetch nothing more ahead."""
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _get_pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, "ahead")
        return self._pool

    def _try_load(self, key: str, number: int, size: int) -> None:
        with suppress(ArtifactFSError):  # who reads it asks again, and is told what is wrong
            self.load(key, number, size)

    def _fetch_ahead(self, key: str, number: int) -> None:
        start = number * CHUNK_SIZE
        # Nobody waits for it: who reads it asks again, and is told what is wrong.
        with suppress(ArtifactFSError):
            size = min(CHUNK_SIZE, (self._source.find_size(key) or 0) - start)
            if size > 0 and not self.cache.has(key, number):
                self.load(key, number, size)
