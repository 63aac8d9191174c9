"""Checkpoints: the whole state of a collection at every 256th record, so that loading a long log is short.

A cache: without one, or with a damaged one, the log is read from its beginning.

Used by `log.py`. Threading: pure functions.
"""

from __future__ import annotations

from typing import Final

import msgspec

from artifactfs.errors import MalformedError
from artifactfs.model import Collection
from artifactfs.repository.sealed import open_sealed, seal

CHECKPOINT_INTERVAL: Final = 256

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Collection)


def encode_checkpoint(collection: Collection) -> bytes:
    """Return a state as it is stored: JSON with sorted keys, sealed."""
    # JSON's keys are text, and so they are sorted: msgspec orders only dicts of text.
    return seal(_encoder.encode(msgspec.to_builtins(collection, str_keys=True)))


def decode_checkpoint(data: bytes, *, key: str) -> Collection:
    """Return the state that stored bytes are.

    Raises:
        MalformedError: cut short, or not the JSON of a state.
        DigestMismatchError: it is not what was written.
    """
    line, _ = open_sealed(data, key=key)
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the checkpoint {key} does not decode: {error}"
        raise MalformedError(msg, hint="delete it: it is only a cache", subject=key) from error
