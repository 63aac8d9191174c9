"""The steps of a draft as values and as bytes: its parts, and its end.

Used by `drafts.py` and check. Threading: immutable values, pure functions.

Source: docs/format.md section 8.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from artifactfs.blobstore.keys import find_draft_key
from artifactfs.errors import InvalidNameError, MalformedError, UsageError
from artifactfs.model import Root
from artifactfs.repository.sealed import open_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_MAX: Final = 512
STEP_ID_SIZE: Final = 16
HexId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
TimeNs = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Step(Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """What all steps have in common.

    Attributes:
        collection: where the version goes.
        draft: the draft's id, made from its name.
        name: by which its writers know it.
        step: random, by which a writer knows its own step again.
        author: who made the step.
        time_ns: when.
    """

    collection: str
    draft: HexId
    name: str
    step: HexId
    author: str
    time_ns: TimeNs


class _Described(_Step, frozen=True):
    """What is to be stated of the version; see `Commit`."""

    expires_ns: TimeNs
    type: str | None = None
    aliases: tuple[str, ...] = ()
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    run: str | None = None


class Part(_Described, frozen=True, kw_only=True, tag="part"):
    """What one writer contributes: a tree, and what it wants to be stated of the version."""

    root: Root


class Closed(_Described, frozen=True, kw_only=True, tag="closed"):
    """No part comes any more, and this is the commit to be made of those before.

    Attributes:
        change: the commit's change id.
        seq: number of the last log record when it was closed: the commit comes after it.
        message: the log message.
        version_expires_ns: when the version may be removed.
    """

    change: HexId
    seq: Number
    message: str = ""
    version_expires_ns: TimeNs | None = None


class Committed(_Step, frozen=True, kw_only=True, tag="committed"):
    """The version is there."""

    version: Number


class Dropped(_Step, frozen=True, tag="dropped"):
    """It was given up, or expired."""


Step: TypeAlias = Part | Closed | Committed | Dropped
_encoder = msgspec.json.Encoder(order="sorted")
_decoder: msgspec.json.Decoder[Step] = msgspec.json.Decoder(Step)


def find_draft_id(name: str) -> str:
    """Return the id of the draft that its writers call `name`.

    Raises:
        InvalidNameError: empty, longer than 512 bytes, or not Unicode.
    """
    try:
        data = name.encode()
    except UnicodeEncodeError as error:
        msg = f"{name!r} cannot name a draft: it is not Unicode"
        raise InvalidNameError(msg, subject=name) from error
    if not 0 < len(data) <= NAME_MAX:
        msg = f"{name[:40]!r} cannot name a draft"
        raise InvalidNameError(msg, hint=f"it has 1 to {NAME_MAX} bytes", subject=name)
    return hashlib.sha256(data).hexdigest()[:32]


def encode_draft_step(step: Step) -> bytes:
    """Return a step as it is stored.

    Raises:
        UsageError: a text in it is not Unicode, or a metadata value cannot be stored.
    """
    try:
        return seal(_encoder.encode(step))
    except (UnicodeEncodeError, msgspec.MsgspecError, OverflowError, TypeError, RecursionError) as error:
        msg = f"the step of the draft cannot be recorded: {error}"
        raise UsageError(msg, hint="texts are UTF-8, metadata values JSON") from error


def decode_draft_step(data: bytes, *, key: str) -> Step:
    """Return the step that stored bytes are.

    Raises:
        MalformedError: cut short, not such a step, or one of another draft.
        DigestMismatchError: it is not what was written.
    """
    line, _ = open_sealed(data, key=key)
    try:
        step = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the step {key} of a draft does not decode: {error}"
        raise MalformedError(msg, hint="a newer release may have written it", subject=key) from error
    if (step.collection, step.draft) != (find_draft_key(key) or ("", "", 0))[:2]:
        msg = f"{key} is a step of the draft {step.draft} of {step.collection!r}"
        raise MalformedError(msg, subject=key)
    return step


def check_order(steps: Sequence[Step], *, key: str) -> None:
    """Return if steps can follow each other: `part+ [dropped | closed [committed | dropped]]`.

    Raises:
        MalformedError: they cannot; `key` names the draft.
    """
    kinds = "".join(type(step).__name__[0] if not isinstance(step, Closed) else "E" for step in steps)
    rest = kinds.lstrip("P")
    if len(rest) == len(kinds) or rest not in {"", "D", "E", "EC", "ED"}:
        msg = f"the steps of {key} cannot follow each other"
        raise MalformedError(msg, hint="`artifactfs check` says more", subject=key)
