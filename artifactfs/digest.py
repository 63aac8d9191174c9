"""Digests: the names of immutable bytes, and the one way to compute them.

A digest is SHA-256, written `sha256:<64 hex digits>` and kept as 32 raw bytes.
Threading: values are immutable; a hasher belongs to one thread.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from artifactfs.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator

ALGORITHM: Final = "sha256"
DIGEST_SIZE: Final = 32
CHUNK_SIZE: Final = 4 << 20
"""Bytes of a blob that one entry of its sums covers. Part of the repository format."""

_TEXT = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The SHA-256 of some bytes, as 32 raw bytes."""

    raw: bytes

    def __post_init__(self) -> None:
        """Refuse anything that is not 32 bytes."""
        if len(self.raw) != DIGEST_SIZE:
            msg = f"a digest has {DIGEST_SIZE} bytes, not {len(self.raw)}"
            raise MalformedError(msg)

    @property
    def hex(self) -> str:
        """The 64 lower-case hex digits, as in the names of stored objects."""
        return self.raw.hex()

    def __str__(self) -> str:
        """Return `sha256:<hex>`."""
        return f"{ALGORITHM}:{self.raw.hex()}"


def parse_digest(text: str) -> Digest:
    """Return the digest that `sha256:<64 hex digits>` stands for.

    Raises:
        MalformedError: the text is anything else.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        msg = f"not a digest: {text[:80]!r}"
        raise MalformedError(msg, hint="a digest is sha256: and 64 hex digits")
    return Digest(bytes.fromhex(match[1]))


def hash_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """Return the digest of `data`."""
    return Digest(hashlib.sha256(data).digest())


EMPTY_DIGEST: Final = hash_bytes(b"")


class HashingReader:
    """Reads a binary file, and knows the digest of all bytes that went through.

    Hashes what is *sent on*, so that a file that changes meanwhile cannot be stored under a wrong name.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; b"" at the end."""
        data = self._source.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        """Yield the rest of the file in pieces of up to `size` bytes."""
        while data := self.read(size):
            yield data

    @property
    def digest(self) -> Digest:
        """The digest of what was read so far."""
        return Digest(self._hash.digest())
