"""Lists of the files that a run looked up, as they are stored: a line of JSON for each, the first with a seal.

    {"artifact":"animals:v1","path":"cat","seal":"sha256:<64 hex>","size":3}

The seal is the digest of the list without it. Readers that do not know it pass it over; lists of before have none.

Used by the log of runs and by check. Threading: pure functions.

Source: docs/format.md section 6.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.digest import hash_bytes
from artifactfs.errors import DigestMismatchError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SEAL: Final = re.compile(rb',"seal":"(sha256:[0-9a-f]{64})"')
"""In a string the quotes would be escaped."""


class LookedUpFile(msgspec.Struct, frozen=True):
    """A file that a run looked up: in the version `NAME:vN`, at a path, with so many bytes."""

    artifact: str
    path: str
    size: int


_encode = msgspec.json.Encoder(order="sorted").encode_lines
_decode = msgspec.json.Decoder(LookedUpFile).decode_lines


def encode_files(files: Iterable[LookedUpFile]) -> bytes:
    """Return a list of at least one file as it is stored."""
    data = _encode(files)
    at = data.index(b',"size":')
    return b'%s,"seal":"%s"%s' % (data[:at], str(hash_bytes(data)).encode(), data[at:])


def decode_files(data: bytes, *, key: str) -> list[LookedUpFile]:
    """Return the files that a stored list names, in order.

    Raises:
        MalformedError: it is no such list.
        DigestMismatchError: it is not what was written.
    """
    try:
        found = _decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        msg = f"{key} does not decode: {error}"
        raise MalformedError(msg, subject=key) from error
    seal = _SEAL.search(data, 0, data.find(b"\n") + 1)
    if seal is None:
        is_whole = data == _encode(found) != b""  # it is older than seals; or else what should be one is damaged
    else:
        is_whole = str(hash_bytes(data[: seal.start()] + data[seal.end() :])).encode() == seal[1]
    if not is_whole:
        msg = f"{key} is damaged: it is not the list that was sealed"
        raise DigestMismatchError(msg, hint="restore it from a copy of the repository", subject=key)
    return found
