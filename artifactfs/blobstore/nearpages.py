"""Pages of tree packs, with those that lie before them: children come before their parents there.

So the top page of a version brings the directories below it along, and a path is walked in one round trip.

Used by `cachingstore.py`. Threading: may be shared by threads.

Source: docs/format.md section 7.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from artifactfs.digest import CHUNK_SIZE

if TYPE_CHECKING:
    from artifactfs.blobstore.remote import RangeReader

NEAR: Final = 1 << 20
"""So many bytes before a page come with it, at most."""
KEPT: Final = 16


class NearPages:
    """Parts of tree packs that were read last. May be shared by threads."""

    def __init__(self, source: RangeReader) -> None:
        self._source = source
        self._guard = threading.Lock()
        self._parts: OrderedDict[tuple[str, int], tuple[int, bytes]] = OrderedDict()

    def has(self, key: str, offset: int, size: int) -> bool:
        """Return whether a range can be had without asking."""
        return self._find(key, offset, size) is not None

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Return exactly the bytes [offset, offset + size) of a tree pack, which must have them."""
        found = self._find(key, offset, size)
        if found is not None:
            return found
        # Not beyond the chunk, which is fetched as a whole when more of it is wanted.
        chunk = offset // CHUNK_SIZE
        begin = max(chunk * CHUNK_SIZE, offset + size - max(NEAR, size))
        data = self._source.read_range(key, begin, offset + size - begin)
        with self._guard:
            self._parts[key, chunk] = begin, data
            while len(self._parts) > KEPT:
                self._parts.popitem(last=False)
        return data[offset - begin :]

    def forget(self, key: str) -> None:
        """Drop what is kept of a tree pack."""
        with self._guard:
            for part in [part for part in self._parts if part[0] == key]:
                del self._parts[part]

    def _find(self, key: str, offset: int, size: int) -> bytes | None:
        with self._guard:
            begin, data = self._parts.get((key, offset // CHUNK_SIZE), (0, b""))
        first = offset - begin
        return data[first : first + size] if first >= 0 and first + size <= len(data) else None
