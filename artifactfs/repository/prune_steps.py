"""The steps of a prune as values and as bytes: what is condemned, the verdict, and that it is done.

Used by `condemning.py` and check. Threading: immutable values, pure functions.

Source: docs/format.md section 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from artifactfs.errors import MalformedError
from artifactfs.repository.reach import PREFIXES, ObjectSet
from artifactfs.repository.sealed import open_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Mapping

PruneId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
HexDigest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Condemned(Struct, frozen=True):
    """What a prune wants to delete.

    Attributes:
        prune: its id.
        author: who prunes.
        created_ns: when, by the writer's clock.
        objects: by folder (without slash), the hex digests of objects in order.
    """

    prune: PruneId
    author: str
    created_ns: int
    objects: dict[str, list[HexDigest]]


class Verdict(Struct, frozen=True, omit_defaults=True):
    """Whether a prune deletes, or is cancelled.

    Attributes:
        prune: its id.
        author: who decided.
        created_ns: when, by the writer's clock.
        delete: False when it was cancelled.
        until_ns: after this time, by the writer's clock, it deletes nothing any more.
    """

    prune: PruneId
    author: str
    created_ns: int
    delete: bool
    until_ns: int = 0


class Done(Struct, frozen=True):
    """The end of a prune: it deletes nothing any more.

    Attributes:
        prune: its id.
        created_ns: when, by the writer's clock.
        deleted: how many objects it deleted.
    """

    prune: PruneId
    created_ns: int
    deleted: int


Step = Condemned | Verdict | Done
_Kind = TypeVar("_Kind", Condemned, Verdict, Done)
_encoder = msgspec.json.Encoder(order="sorted")
_FOLDERS: Final[Mapping[str, str]] = {prefix.rstrip("/"): prefix for prefix in PREFIXES}


def encode_step(step: Step) -> bytes:
    """Return a step as it is stored."""
    return seal(_encoder.encode(step))


def decode_step(data: bytes, kind: type[_Kind], *, key: str) -> _Kind:
    """Return the step that stored bytes are.

    Raises:
        MalformedError: cut short, or not such a step, or of another prune.
        DigestMismatchError: it is not what was written.
    """
    line, _ = open_sealed(data, key=key)
    try:
        step = msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the step {key} of a prune does not decode: {error}"
        raise MalformedError(msg, subject=key) from error
    if key.split("/")[1] != step.prune:
        msg = f"{key} is a step of the prune {step.prune}"
        raise MalformedError(msg, subject=key)
    return step


def list_objects(objects: ObjectSet) -> dict[str, list[str]]:
    """Return a set of objects as `Condemned` has it."""
    found = {folder: [digest.hex() for digest in objects.iter_sorted(prefix)] for folder, prefix in _FOLDERS.items()}
    return {folder: digests for folder, digests in found.items() if digests}


def condemned_objects(condemned: Condemned) -> ObjectSet:
    """Return what a prune wants to delete as a set; folders that are not known hold nothing that anybody needs."""
    found = ObjectSet()
    for folder, digests in condemned.objects.items():
        for digest in digests if folder in _FOLDERS else ():
            found.add(_FOLDERS[folder], bytes.fromhex(digest))
    return found
