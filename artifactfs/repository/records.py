"""Log records: what a change is, as a value and as bytes.

A record is one JSON object with sorted keys, sealed with its digest (`sealed.py`). Its `body` says what changed; `kind`
tells the bodies apart. A record states everything that follows from it, so that applying one needs nothing but the
state before.

Source: docs/format.md, section "Log records". Threading: immutable values, pure functions.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from artifactfs.digest import hash_bytes
from artifactfs.errors import MalformedError, UsageError
from artifactfs.model import Origin, Root
from artifactfs.repository.sealed import open_sealed, seal

Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
ChangeId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
HeadDigest = Annotated[str, Meta(pattern="^(sha256:[0-9a-f]{64})?$")]

CHANGE_ID_SIZE: Final = 16


class Commit(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="commit"):
    """A new version, and all aliases that point to it from now on."""

    version: Number
    type: str
    root: Root
    aliases: tuple[str, ...] = ()
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    base: Number | None = None
    inputs: tuple[str, ...] = ()
    expires_ns: int | None = None
    origin: Origin | None = None


class SetAliases(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="set-aliases"):
    """These aliases point to this version from now on."""

    version: Number
    aliases: tuple[str, ...]


class RemoveAliases(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="remove-aliases"):
    """These aliases are gone."""

    aliases: tuple[str, ...]


class DeleteVersion(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="delete-version"):
    """A version is gone, and its aliases; `latest`, if among them, moves to the highest one left."""

    version: Number


class DeleteCollection(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="delete-collection"):
    """All versions and aliases are gone; numbers go on if the name is used again."""


class Edit(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="edit"):
    """A version's description, metadata and tags are these from now on."""

    version: Number
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


class Pin(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="pin"):
    """Somebody needs a version, which is not pruned until this pin is gone."""

    pin: str
    version: Number
    purpose: str


class Unpin(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="unpin"):
    """A pin is gone."""

    pin: str


class Relocate(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="relocate"):
    """The root of a version lies elsewhere from now on; the version is the same."""

    version: Number
    placement: tuple[str, int, int] | None = None


Body = Commit | SetAliases | RemoveAliases | DeleteVersion | DeleteCollection | Edit | Pin | Unpin | Relocate


class Record(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One change of a collection.

    Attributes:
        collection: the collection's name, so that a record cannot be taken for another's.
        seq: its number; the first is 1.
        previous: digest of the record before it as `sha256:<hex>` (of its JSON line); empty in the first.
        change: 32 random hex digits, by which a writer knows its own record again.
        time_ns: nanoseconds since 1970 UTC; never below the previous record's.
        author: who made the change.
        body: the change.
        message: the log message.
        run: id of the run that made the change, if any.
    """

    collection: str
    seq: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    previous: HeadDigest
    change: ChangeId
    time_ns: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    author: str
    body: Body
    message: str = ""
    run: str | None = None


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Record)


def encode_record(record: Record) -> tuple[bytes, str]:
    """Return a record as it is stored, and the digest that the next record states as `previous`.

    Raises:
        UsageError: a text in it is not Unicode, or a metadata value cannot be stored.
    """
    try:
        line = _encoder.encode(record)
    except (UnicodeEncodeError, msgspec.MsgspecError, OverflowError, TypeError, RecursionError) as error:
        msg = f"the change cannot be recorded: {error}"
        raise UsageError(msg, hint="texts are UTF-8, metadata values JSON") from error
    return seal(line), str(hash_bytes(line))


def decode_record(data: bytes, *, key: str = "") -> tuple[Record, str]:
    """Return the record that stored bytes are, and its digest as `sha256:<hex>`.

    Args:
        data: the whole object.
        key: where it was read, for the error.

    Raises:
        MalformedError: cut short, not JSON, or fields missing, unknown, or of a wrong type or range.
        DigestMismatchError: it is not what was written.
    """
    line, digest = open_sealed(data, key=key)
    try:
        return _decoder.decode(line), digest
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the log record {key} does not decode: {error}"
        raise MalformedError(msg, hint="a newer release may have written it", subject=key) from error
