"""Where content lies in packs, in the index.

A pack is named in each place by half of its digest, which a table of packs makes whole. So a place is what it is
whatever else was forgotten, and a million of them take 60 MB.

Used by `index`. Threading: a PlaceTable may be shared by threads.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.index.rows import open_row, seal_row
from artifactfs.model import Placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from artifactfs.index.environment import Reader, Writer


class PackPlace(Protocol):
    """Where some bytes lie in a pack that is complete."""

    @property
    def pack(self) -> bytes:
        """Raw digest of the pack."""

    @property
    def offset(self) -> int:
        """Bytes before them."""

    @property
    def size(self) -> int:
        """Bytes."""


PLACES: Final = "places"
PACKS: Final = "packs"
BUFFER: Final = 1 << 17
"""So many places are held back: each write changes a page of the index for nearly every one of them."""
PREFIX: Final = 16
_VALUE: Final = struct.Struct(">16sQI")
_LARGEST: Final = 0xFFFFFFFF


class PlaceTable:
    """A `PlaceLog` in the index. May be shared by threads."""

    def __init__(
        self, read: Callable[[Callable[[Reader], object]], object], write: Callable[[Callable[[Writer], None]], None]
    ) -> None:
        """Store how to run a transaction; reading gives None when the index cannot be read."""
        self._read = read
        self._write = write
        self._guard = threading.Lock()
        self._held: dict[bytes, Placement] = {}
        self._packs: dict[bytes, bytes] = {}

    def find_places(self, table: bytes, digests: Sequence[bytes]) -> dict[bytes, Placement]:
        """Return the places of those digests that are known."""
        found: dict[bytes, Placement] = {}
        wanted: list[bytes] = []
        for digest in digests:
            held = self._held.get(table + digest)
            if held is not None:
                found[digest] = held
            else:
                wanted.append(table + digest)
        if wanted:
            found.update((key[1:], place) for key, place in self._find(wanted))
        return found

    def add_places(self, table: bytes, items: Iterable[tuple[bytes, PackPlace]]) -> None:
        """Remember places; they are held back, and written later in one go."""
        known = {
            table + digest: Placement(place.pack, place.offset, place.size)
            for digest, place in items
            if place.size <= _LARGEST
        }
        with self._guard:
            self._held.update(known)
            is_full = len(self._held) >= BUFFER
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        with self._guard:
            held = dict(self._held)
        if held:
            packs = {place.pack[:PREFIX]: place.pack for place in held.values()}
            rows = sorted(
                (key, seal_row(key, _VALUE.pack(place.pack[:PREFIX], place.offset, place.size)))
                for key, place in held.items()
            )
            self._write(lambda writer: _put(writer, packs, rows))
        with self._guard:
            for key, place in held.items():
                if self._held.get(key) is place:
                    del self._held[key]

    def clear(self) -> None:
        """Forget what is held back."""
        with self._guard:
            self._held.clear()

    def _find(self, keys: list[bytes]) -> list[tuple[bytes, Placement]]:
        def get(reader: Reader) -> dict[bytes, bytes]:
            found = (
                {key: reader.get(PLACES, key) for key in keys}
                if len(keys) < 8
                else reader.get_many(PLACES, sorted(keys))
            )
            rows = {key: value for key, value in found.items() if value is not None}
            for value in rows.values():
                prefix = value[:PREFIX]
                if prefix not in self._packs and (pack := reader.get(PACKS, prefix)) is not None:
                    self._packs[prefix] = pack
            return rows

        rows = self._read(get)
        if not isinstance(rows, dict):
            return []
        places = []
        for key, row in rows.items():
            value = open_row(key, row)
            if value is not None and len(value) == _VALUE.size:
                prefix, offset, size = _VALUE.unpack(value)
                pack = self._packs.get(prefix)
                if pack is not None:
                    places.append((key, Placement(pack, offset, size)))
        return places


def _put(writer: Writer, packs: dict[bytes, bytes], rows: list[tuple[bytes, bytes]]) -> None:
    writer.put_many(PACKS, sorted(packs.items()))
    writer.put_many(PLACES, rows)
