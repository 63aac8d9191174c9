"""What is known of where content lies in packs: hints, which save work and may be forgotten at any time.

Used by `blobbatch.py` and the repository; the index keeps them on disk. Threading: may be shared by threads.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from artifactfs.blobstore.packs import PackPlace

FILES: Final = b"f"
"""Files by SHA-256, in packs that this user wrote, or in which they were verified."""
SEEN: Final = b"s"
"""Files by SHA-256, as trees state it."""
TREES: Final = b"t"
"""Stored pages by tree digest, in tree packs."""


class KnownPlace(NamedTuple):
    """Where some bytes lie; a `PackPlace`."""

    pack: bytes
    offset: int
    size: int


class PlaceLog(Protocol):
    """Remembers places by table (`FILES`, `SEEN`, `TREES`) and raw digest."""

    def find_places(self, table: bytes, digests: Sequence[bytes]) -> Mapping[bytes, PackPlace]:
        """Return the places of those digests that are known."""

    def add_places(self, table: bytes, items: Iterable[tuple[bytes, PackPlace]]) -> None:
        """Remember places in packs that are complete."""


class MemoryPlaces:
    """A PlaceLog that lasts as long as the process. May be shared by threads."""

    def __init__(self, *, limit: int = 1 << 17) -> None:
        self._known: dict[tuple[bytes, bytes], KnownPlace] = {}
        self._limit = limit
        self._guard = threading.Lock()

    def find_places(self, table: bytes, digests: Sequence[bytes]) -> dict[bytes, KnownPlace]:
        """Return the places of those digests that are known."""
        found = ((digest, self._known.get((table, digest))) for digest in digests)
        return {digest: place for digest, place in found if place is not None}

    def add_places(self, table: bytes, items: Iterable[tuple[bytes, PackPlace]]) -> None:
        """Remember places; the oldest are forgotten over the limit."""
        with self._guard:
            for digest, place in items:
                self._known[table, digest] = KnownPlace(place.pack, place.offset, place.size)
            while len(self._known) > self._limit:
                del self._known[next(iter(self._known))]
