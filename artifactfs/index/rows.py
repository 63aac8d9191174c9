"""Rows of the index with a checksum: one in which a bit was flipped is not known, rather than believed.

LMDB has no checksums of its own, and what the index says of places and states is not compared with anything else.

Used by the tables of the index. Threading: pure functions.
"""

from __future__ import annotations

import zlib
from typing import Final

CHECK_SIZE: Final = 4


def seal_row(key: bytes, value: bytes) -> bytes:
    """Return a value as it is kept under a key: with the CRC-32 of both behind it, big-endian."""
    return value + zlib.crc32(value, zlib.crc32(key)).to_bytes(CHECK_SIZE, "big")


def open_row(key: bytes, data: bytes | None) -> bytes | None:
    """Return the value that was kept under a key; None when there is none, or it is not what was written.

    >>> open_row(b"key", seal_row(b"key", b"value")), open_row(b"other", seal_row(b"key", b"value"))
    (b'value', None)
    """
    if data is None or len(data) < CHECK_SIZE:
        return None
    value = data[:-CHECK_SIZE]
    return value if seal_row(key, value) == data else None
