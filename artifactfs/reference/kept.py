"""What was fetched through references, kept in the cache of this machine.

A chunk of an object elsewhere has no digest that anybody recorded. It is fetched under the entry's validator, and the
cache keeps the SHA-256 of what came with it; so what is read later is what the service gave for this validator. Chunks
of another URI, validator, size or user are other chunks, and only those count that nobody else can have written: users
who share a cache share what has a digest, and no more. Local files are not kept: they are on this machine already.

Used by `references.py`. Threading: may be shared by threads.

Source: docs/design/references.md.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.blobstore.away import Away
from artifactfs.blobstore.cachequota import CacheLimits
from artifactfs.blobstore.chunkreader import ChunkReader
from artifactfs.blobstore.diskcache import DiskCache
from artifactfs.digest import CHUNK_SIZE

if TYPE_CHECKING:
    from artifactfs.blobstore.connecting import RemoteOptions
    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.base import Source

PREFIX: Final = "references/"
"""Begins the keys of chunks of references."""
_ENTRIES: Final = 1 << 16
_encoder = msgspec.msgpack.Encoder()


class OwnCache(DiskCache):
    """A cache of which only what this user fetched is read. May be shared by threads and by forked processes."""

    def read(self, key: str, number: int, offset: int, size: int) -> bytes | None:
        """Return the overlap of [offset, offset + size) with a chunk of this user, or None."""
        chunk = self.open(key, number)
        return None if chunk is None else chunk.read(offset, size)

    def has(self, key: str, number: int) -> bool:
        """Return whether a chunk of this user is there."""
        return self.open(key, number) is not None


class KeptReferences:
    """Chunks of references. May be shared by threads.

    Attributes:
        is_away: whether nothing is fetched by this process.
        cache: where they are kept.
    """

    def __init__(self, options: RemoteOptions) -> None:
        """Store where chunks are kept, and how many are fetched at once."""
        cache = OwnCache(options.cache, CacheLimits(options.cache_size, options.cache_free))
        self.is_away = options.is_away
        self._entries = _Entries()
        self.cache = cache
        self._chunks = ChunkReader(cache, self._entries, connections=options.connections)

    def read_chunk(self, key: str, number: int, first: int, last: int, size: int) -> bytes:
        """Return the bytes [first, last) of a chunk of `size` bytes; fetched, if it is not kept.

        Raises:
            Away: it is not kept, and this process fetches nothing.
            ReferenceChangedError, RemoteError, AccessDeniedError: see `Source.read_range`.
        """
        if self.is_away:
            found = self.cache.read(key, number, first, last - first)
            if found is None or len(found) != last - first:
                raise Away(key)
            return found
        found = self._chunks.find(key, number, first, last)
        if found is not None:
            return found
        self._chunks.note_read(key, number)
        return self._chunks.load(key, number, size)[first:last]

    def register(self, key: str, source: Source, entry: ReferenceEntry) -> None:
        """Say what a key stands for, before its chunks are read."""
        self._entries.put(key, source, entry)

    def note_read(self, key: str, number: int) -> None:
        """Take a chunk as read by somebody else, so that what comes next can be fetched."""
        if not self.is_away:
            self._chunks.note_read(key, number)

    def fetch(self, key: str, number: int, size: int) -> int:
        """Bring a chunk of `size` bytes in, and return how many bytes were fetched: 0 when it was there.

        Raises:
            ReferenceChangedError, RemoteError, AccessDeniedError: see `Source.read_range`.
            StorageFullError: it could not be kept.
        """
        if self.cache.has(key, number):
            return 0
        self._chunks.load(key, number, size)
        self.cache.require(key, number)
        return size

    def count(self, key: str, size: int) -> tuple[int, int]:
        """Return how many chunks of a reference are kept, and of how many."""
        numbers = range(-(-size // CHUNK_SIZE))
        return sum(self.cache.has(key, number) for number in numbers), len(numbers)

    def close(self) -> None:
        """Fetch nothing more ahead."""
        self._chunks.close()


class _Entries:
    """Fetches by key."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: OrderedDict[str, tuple[Source, ReferenceEntry]] = OrderedDict()

    def put(self, key: str, source: Source, entry: ReferenceEntry) -> None:
        with self._guard:
            self._known[key] = source, entry
            self._known.move_to_end(key)
            while len(self._known) > _ENTRIES:
                self._known.popitem(last=False)

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        with self._guard:
            source, entry = self._known[key]
        return source.read_range(entry, offset, size)

    def find_size(self, key: str) -> int | None:
        with self._guard:
            found = self._known.get(key)
        return None if found is None else found[1].size

    def find_known_size(self, key: str) -> int | None:
        return self.find_size(key)


def reference_key(entry: ReferenceEntry, *, scope: str) -> str:
    """Return the key under which what an entry names is kept.

    Args:
        entry: which.
        scope: by what right it is read: what was read by one is not handed out by another.
    """
    validator, user = entry.validator, os.geteuid()
    what = [entry.uri, validator.kind, validator.value, entry.size, scope, user]
    name = hashlib.sha256(_encoder.encode(what)).hexdigest()
    return f"{PREFIX}{name[:2]}/{name}"
