"""A store in a bucket that keeps on this machine what it fetches, and fetches ahead.

Content is asked for in aligned chunks of 4 MiB, each once, however many threads and processes want it. What is read in
order is fetched ahead, twice as far each time, up to 64 MiB. How files in packs are asked for, which are small,
`touching.py` decides: those that are read in the order of the tree cost a few large requests.

Only content that is named by its digest is kept: blobs, packs, trees and sums. Logs, runs and formats are asked for
each time, and formats and logs remembered for when there is no network. Whoever wants to know what the bucket holds, as
`check` does, opens objects: nothing of that is kept.

Used by the repository. Threading: may be shared by threads; not by forked processes.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.chunkreader import ChunkReader
from artifactfs.blobstore.keys import BLOBS_PREFIX, PACKS_PREFIX, SUMS_PREFIX, TREEPACKS_PREFIX, TREES_PREFIX
from artifactfs.blobstore.nearpages import NearPages
from artifactfs.blobstore.remote import KeptPart, open_remote
from artifactfs.blobstore.retrying import RetryingStore, RetryPolicy
from artifactfs.blobstore.touching import How, Touches
from artifactfs.digest import CHUNK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.blobstore.diskcache import DiskCache
    from artifactfs.blobstore.remembered import Remembered
    from artifactfs.blobstore.remote import RemoteObjects

_RANGES: Final = (BLOBS_PREFIX, PACKS_PREFIX, TREEPACKS_PREFIX)
_WHOLE: Final = (SUMS_PREFIX, TREES_PREFIX)


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
        remembered: Remembered | None = None,
    ) -> None:
        """Store the bucket and the cache; `connections` is how many chunks are fetched ahead at once."""
        super().__init__(store, policy, spool=spool, connections=connections)
        self.cache = cache
        self._remembered = remembered
        self._direct = _Direct(self)
        self._sized = _Sized(self)
        self._pages = NearPages(self._direct)
        self._chunks = ChunkReader(cache, self._sized, connections=connections)
        self._touches = Touches()

    def read(self, key: str) -> bytes:
        """Return a whole object; sums and trees are kept, formats and logs remembered.

        Raises:
            BlobMissingError: there is none under this key.
            RemoteError: retries ran out.
        """
        if not key.startswith(_WHOLE):
            data = super().read(key)
            if self._remembered is not None:
                self._remembered.keep(key, data)
            return data
        found = self.cache.read(key, 0, 0, CHUNK_SIZE)
        if found is None:
            data = super().read(key)
            found = self.cache.load(key, 0, len(data), lambda: data) if len(data) <= CHUNK_SIZE else data
        return found

    def create(self, key: str, data: bytes) -> bool:
        """Create an object unless there is one, and return whether this call created it.

        Raises:
            RemoteError: it may have been created or not: read the key to know.
        """
        is_created = super().create(key, data)
        if is_created and self._remembered is not None:
            self._remembered.keep(key, data)
        return is_created

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

    def find_kept(self, key: str, offset: int, size: int) -> list[KeptPart]:
        """Return the parts of chunks that a range consists of; empty unless all are kept."""
        number, first = divmod(offset, CHUNK_SIZE)
        chunk = self.cache.open(key, number)
        if chunk is None:
            lone = self.cache.open(lone_key(key, offset), 0)
            return [KeptPart(lone, 0, size)] if lone is not None and lone.size == size else []
        self._note_kept(key, number)
        part = KeptPart(chunk, first, min(size, CHUNK_SIZE - first))
        if part.start + part.size > chunk.size:
            return []
        if part.size == size:
            return [part]
        rest = self.find_kept(key, offset + part.size, size - part.size)
        return [part, *rest] if rest else []

    def _note_kept(self, key: str, number: int) -> None:
        self._chunks.note_read(key, number)

    def forget_range(self, key: str, offset: int, size: int) -> bool:
        """Drop what is kept of a range, which turned out to be wrong; return whether there was anything."""
        numbers = range(offset // CHUNK_SIZE, -(-(offset + size) // CHUNK_SIZE))
        self._pages.forget(key)
        forgotten = [self.cache.forget(key, number) for number in numbers]
        return any([*forgotten, self.cache.forget(lone_key(key, offset), 0)])

    def want_range(self, key: str, offset: int, size: int) -> None:
        """Begin to fetch an aligned chunk that will be read next; nothing waits for it."""
        self._chunks.want(key, offset // CHUNK_SIZE, size)

    def note_range(self, key: str, offset: int) -> None:
        """Take a part of an object as read by somebody else, so that what comes next can be fetched."""
        if key.startswith(_RANGES):
            self._chunks.note_read(key, offset // CHUNK_SIZE)

    def note_next(self, key: str, find_next: Callable[[], str | None]) -> None:
        """Have what follows an object fetched, when that is read in order and ends soon.

        Args:
            key: of the object.
            find_next: returns the key of what will be read after it, if that is known.
        """
        left = self._chunks.find_left(key)
        if left and (following := find_next()) is not None:
            self._chunks.begin(following, left)

    def count_kept(self, key: str, offset: int, size: int) -> tuple[int, int]:
        """Return how many of the chunks that hold a range are kept, and how many these are."""
        numbers = range(offset // CHUNK_SIZE, -(-(offset + size) // CHUNK_SIZE))
        if self.cache.has(lone_key(key, offset), 0):
            return len(numbers), len(numbers)
        return sum(self.cache.has(key, number) for number in numbers), len(numbers)

    def fetch(self, key: str, number: int) -> int:
        """Bring a chunk in, and return how many bytes were fetched: 0 when it was there.

        Raises:
            RemoteError, BlobMissingError: it could not be fetched.
            StorageFullError: it could not be kept.
        """
        if self.cache.has(key, number):
            return 0
        if key.startswith(_WHOLE):
            size = len(self.read(key))
        else:
            start = number * CHUNK_SIZE
            size = min(CHUNK_SIZE, (self._sized.find_size(key) or 0) - start)
            if size <= 0:
                return len(self._direct.read_range(key, start, 1))  # says what is wrong
            self._chunks.load(key, number, size)
        self.cache.require(key, number)
        return size

    def close(self) -> None:
        """Fetch nothing more ahead."""
        self._chunks.close()

    def _read_chunk(self, key: str, number: int, first: int, last: int) -> bytes:
        """Return the bytes [first, last) of a chunk."""
        found = self._chunks.find(key, number, first, last)
        if found is not None:
            return found
        start = number * CHUNK_SIZE
        is_blob = key.startswith(BLOBS_PREFIX)
        if not is_blob and (found := self._find_lone(key, start + first, last - first)) is not None:
            return found
        if not is_blob and (how := self._decide(key, number, first, last)) is not How.CHUNK:
            if how is How.PASSING:
                return self._direct.read_range(key, start + first, last - first)
            if how is How.ALONE:
                source = self._pages if key.startswith(TREEPACKS_PREFIX) else self._direct
                fetch = partial(source.read_range, key, start + first, last - first)
                return self.cache.load(lone_key(key, start + first), 0, last - first, fetch)
            self._chunks.begin_all(key, self._sized.find_size(key) or 0)
        # Blobs are asked for by whole chunks: what is wanted of the last one says how large it is.
        size = last if is_blob and not first else min(CHUNK_SIZE, (self._sized.find_size(key) or 0) - start)
        if size < last:
            return self._direct.read_range(key, start + first, last - first)  # says what is wrong
        self._chunks.note_read(key, number)
        return self._chunks.load(key, number, size)[first:last]

    def _decide(self, key: str, number: int, first: int, last: int) -> How:
        """Return how a part of a chunk of a pack, or tree pack, is asked for."""
        start = number * CHUNK_SIZE
        is_tree = key.startswith(TREEPACKS_PREFIX)
        if is_tree and self._pages.has(key, start + first, last - first):
            return How.ALONE
        return self._touches.decide(
            key,
            start + first,
            start + last,
            is_running=self._chunks.is_running(key, number),
            has_room=lambda: not is_tree and self.cache.quota.has_room(self._sized.find_size(key) or 0),
        )

    def _find_lone(self, key: str, offset: int, size: int) -> bytes | None:
        """Return a range that was asked for by itself and is kept."""
        found = self.cache.read(lone_key(key, offset), 0, 0, size)
        return found if found is not None and len(found) == size else None


def lone_key(key: str, offset: int) -> str:
    """Return under which name a range is kept that was asked for by itself."""
    return f"{key}@{offset}"


class _Direct:
    """The bucket itself, tried again where it fails."""

    def __init__(self, store: CachingStore) -> None:
        self._store = store

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        return RetryingStore.read_range(self._store, key, offset, size)

    def find_size(self, key: str) -> int | None:
        return self._store.find_size(key)


class _Sized(_Direct):
    """The same, asked for the size of an object once: objects never change."""

    def __init__(self, store: CachingStore) -> None:
        super().__init__(store)
        self._sizes: dict[str, int] = {}
        self._asking: dict[str, threading.Lock] = {}

    def find_size(self, key: str) -> int | None:
        if key not in self._sizes:
            with self._asking.setdefault(key, threading.Lock()):
                if key not in self._sizes:
                    self._sizes[key] = super().find_size(key) or 0
            self._asking.pop(key, None)
        return self._sizes[key]

    def find_known_size(self, key: str) -> int | None:
        return self._sizes.get(key)
