"""A page as an object of the store: a header, the page's canonical bytes, and where the content of its items lies.

Placements are outside of what the tree digest covers, so that content can be moved. Source: docs/format.md.

Threading: pure functions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.digest import Digest, hash_bytes
from artifactfs.errors import DigestMismatchError, MalformedError
from artifactfs.manifest import Page, decode_page
from artifactfs.model import Placement

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC: Final = b"aft1"
SELF: Final = b"\0" * 32
"""Pack digest that stands for the tree pack in which a stored tree lies itself."""

_HEADER = struct.Struct("<4sI")
_encoder = msgspec.msgpack.Encoder()
_decode_places = msgspec.msgpack.Decoder(tuple[tuple[bytes, ...], tuple[tuple[int, int, int] | None, ...]])


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page as an object of the store: the page, and where the content of each item lies.

    `placements` has one element for each item: None for loose content and for symlinks and references.
    """

    page: Page
    placements: tuple[Placement | None, ...]


def encode_stored(page: Page, placements: Sequence[Placement | None] = ()) -> bytes:
    """Return the bytes of a stored tree: header, canonical bytes, placement.

    Args:
        page: what to store.
        placements: one for each item, or none at all when everything is loose. The pack digest `SELF`
            means the tree pack in which the stored bytes will lie.
    """
    header = _HEADER.pack(MAGIC, len(page.data))
    if not any(placements):
        return header + page.data
    packs: list[bytes] = []
    places: list[tuple[int, int, int] | None] = []
    for place in placements:
        if place is None:
            places.append(None)
            continue
        if place.pack != SELF and place.pack not in packs:
            packs.append(place.pack)
        number = 0 if place.pack == SELF else packs.index(place.pack) + 1
        places.append((number, place.offset, place.size))
    return header + page.data + _encoder.encode((packs, places))


def decode_stored(data: bytes, *, expected: Digest, holder: bytes = SELF) -> StoredPage:
    """Return what a stored tree holds, after checking that it is the one asked for.

    Args:
        data: the whole object, or the part of a tree pack that a placement names.
        expected: the tree digest under which it was asked for.
        holder: digest of the tree pack it came from, which replaces `SELF` in the placements.

    Raises:
        DigestMismatchError: the canonical bytes hash to something else.
        MalformedError: it does not decode.
    """
    canonical, rest = _split(data, expected)
    page = decode_page(canonical)
    return StoredPage(page, _decode_placements(rest, page, holder))


def find_extents(data: bytes, *, expected: Digest, holder: bytes) -> dict[bytes, int] | None:
    """Return how long the packs must be that hold the content of a stored tree of files; None if some lies in none.

    So it is known what a directory needs without making its entries.

    Args:
        data: as for `decode_stored`.
        expected: the tree digest.
        holder: digest of the tree pack it came from.

    Raises:
        DigestMismatchError, MalformedError: as `decode_stored`; entries are not looked at.
    """
    canonical, rest = _split(data, expected)
    if canonical[1:2] != b"\0":
        return None  # pages
    packs, places = _decode_table(rest, expected) if rest else ((), ())
    if not rest or None in places:
        return None
    ends = [0] * (len(packs) + 1)
    for number, offset, size in places:  # type: ignore[misc]
        if offset + size > ends[number]:  # noqa: PLR1730 (a call for each file would cost as much as the rest)
            ends[number] = offset + size
    return dict(zip((holder, *packs), ends, strict=True))


def _split(data: bytes, expected: Digest) -> tuple[bytes, bytes]:
    """Return the canonical bytes of a page, verified, and those of its placements."""
    magic, length = _HEADER.unpack_from(data) if len(data) >= _HEADER.size else (b"", 0)
    canonical = data[_HEADER.size : _HEADER.size + length]
    if magic != MAGIC or len(canonical) != length:
        msg = f"the tree {expected} is damaged: it has no valid header"
        raise MalformedError(msg, subject=str(expected))
    if hash_bytes(canonical) != expected:
        msg = f"the tree {expected} is damaged: its bytes hash to {hash_bytes(canonical)}"
        raise DigestMismatchError(msg, subject=str(expected))
    return canonical, data[_HEADER.size + length :]


def _decode_table(data: bytes, tree: Digest) -> tuple[tuple[bytes, ...], tuple[tuple[int, int, int] | None, ...]]:
    try:
        packs, places = _decode_places.decode(data)
    except msgspec.MsgspecError as error:
        msg = f"the placement of the tree {tree} does not decode: {error}"
        raise MalformedError(msg, subject=str(tree)) from error
    numbers = {place[0] for place in places if place is not None}
    if numbers and not 0 <= min(numbers) <= max(numbers) <= len(packs):
        msg = f"the placement of the tree {tree} names a pack that it does not list"
        raise MalformedError(msg, subject=str(tree))
    return packs, places


def _decode_placements(data: bytes, page: Page, holder: bytes) -> tuple[Placement | None, ...]:
    if not data:
        return (None,) * len(page.items)
    packs, places = _decode_table(data, page.digest)
    table = (holder, *packs)
    found = tuple(place and Placement(table[place[0]], place[1], place[2]) for place in places)
    if len(found) != len(page.items):
        msg = f"the placement of the tree {page.digest} has {len(found)} elements, not {len(page.items)}"
        raise MalformedError(msg, subject=str(page.digest))
    return found
