"""The version below an overlay: known by its top directory alone, because its record may have been deleted.

Used by the transports' builders.

Threading: a function without state.
"""

from __future__ import annotations

import msgspec

from artifactfs.model import Collection, Root, Version
from artifactfs.mount.orders import Order
from artifactfs.paths import parse_ref


def encode_root(root: Root) -> str:
    """Return a top directory as an order carries it."""
    return msgspec.json.encode(root).decode("ascii")


def pinned_version(collection: str, number: int, *, root: str) -> tuple[Collection, Version]:
    """Return no more of a collection and a version than what a mount shows of a version's inside."""
    decoded = msgspec.json.decode(root, type=Root)
    return Collection(collection), Version(number=number, root=decoded, seq=0, time_ns=0, author="")


def ordered_version(order: Order) -> tuple[Collection, Version]:
    """Return the version that an order of kind `lower` is for."""
    ref = parse_ref(order.artifact or "")
    return pinned_version(ref.collection, ref.version or 0, root=order.root or "")
