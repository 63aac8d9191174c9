"""The content of references, open for reading.

Used by `references.py`. Threading: files may be shared by threads.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from artifactfs.blobstore.remote import FetchedContent
from artifactfs.digest import CHUNK_SIZE

if TYPE_CHECKING:
    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.base import Source
    from artifactfs.reference.kept import KeptReferences


class ReferenceFile:
    """The content of a reference, open for reading. May be shared by threads.

    Attributes:
        size: bytes.
        entry: the reference.
    """

    def __init__(self, source: Source, entry: ReferenceEntry) -> None:
        self._source = source
        self.entry = entry
        self.size = entry.size
        self._guard = threading.Lock()
        self._last: tuple[int, bytes] = (-1, b"")

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the content, in requests of aligned 4 MiB.

        Raises:
            ReferenceChangedError: it is no longer what was recorded.
            RemoteError, AccessDeniedError: it cannot be reached or may not be read.
        """
        end = min(offset + size, self.size)
        parts = []
        for start in range(offset // CHUNK_SIZE * CHUNK_SIZE, end, CHUNK_SIZE):
            data = self._load(start)
            parts.append(data[max(offset - start, 0) : end - start])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def extent(self) -> tuple[int, int] | None:
        """Return None: there is no file that could be shared."""
        return None

    def close(self) -> None:
        """Drop what was read last."""
        with self._guard:
            self._last = (-1, b"")

    def _load(self, start: int) -> bytes:
        with self._guard:
            if self._last[0] == start:
                return self._last[1]
            data = self._source.read_range(self.entry, start, min(CHUNK_SIZE, self.size - start))
            self._last = (start, data)
            return data


class KeptReferenceFile(FetchedContent):
    """The content of a reference, of which this machine keeps what was fetched. May be shared by threads.

    Attributes:
        size: bytes.
        entry: the reference.
    """

    def __init__(self, kept: KeptReferences, key: str, source: Source, entry: ReferenceEntry) -> None:
        self._kept = kept
        self._key = key
        self._source = source
        self.entry = entry
        self.size = entry.size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the content, in chunks of 4 MiB.

        Raises:
            Away: it is not kept, and this process fetches nothing.
            ReferenceChangedError: it is no longer what was recorded.
            RemoteError, AccessDeniedError: it cannot be reached or may not be read.
        """
        end = min(offset + size, self.size)
        numbers = range(offset // CHUNK_SIZE, -(-end // CHUNK_SIZE))
        parts = [self._read_chunk(number, offset, end) for number in numbers]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, into: memoryview, offset: int) -> int:
        """Read up to as many bytes as fit, and return how many; see `read_at`."""
        end = min(offset + len(into), self.size)
        done = 0
        for number in range(offset // CHUNK_SIZE, -(-end // CHUNK_SIZE)):
            data = self._read_chunk(number, offset, end)
            into[done : done + len(data)] = data
            done += len(data)
        return done

    def fetch(self, number: int) -> int:
        """Bring a chunk into the cache, and return the bytes that were fetched; 0 when it was there."""
        self._kept.register(self._key, self._source, self.entry)
        return self._kept.fetch(self._key, number, min(CHUNK_SIZE, self.size - number * CHUNK_SIZE))

    def find_chunk(self, offset: int) -> tuple[object, int]:
        """Return which object, and which chunk of it, holds the byte at `offset`."""
        return self._key, offset // CHUNK_SIZE

    def _read_chunk(self, number: int, offset: int, end: int) -> bytes:
        """Return what a chunk has of the bytes [offset, end)."""
        self._kept.register(self._key, self._source, self.entry)
        start = number * CHUNK_SIZE
        first, last = max(offset - start, 0), min(end - start, CHUNK_SIZE)
        return self._kept.read_chunk(self._key, number, first, last, min(CHUNK_SIZE, self.size - start))

    def note_read(self, offset: int) -> None:
        """Take a part as read by somebody else, so that what comes next can be fetched."""
        self._kept.register(self._key, self._source, self.entry)
        self._kept.note_read(self._key, offset // CHUNK_SIZE)

    def extent(self) -> tuple[int, int] | None:
        """Return None: there is no file that could be shared."""
        return None

    def close(self) -> None:
        """Do nothing."""
