"""What a server may read elsewhere, and how, from its order.

Used by whatever opens a repository in a server.

Threading: pure functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from artifactfs.blobstore.connecting import RemoteOptions, find_fetched, find_remembered

if TYPE_CHECKING:
    from artifactfs.mount.orders import Order
    from artifactfs.reference.references import References


def remote_of(order: Order) -> RemoteOptions:
    """Return how a server speaks to object stores. Credentials come with its environment, never in an order."""
    return RemoteOptions(
        poll_seconds=order.poll_seconds,
        cache=find_fetched(order.cache),
        remembered=find_remembered(order.state),
        **asdict(order.limits),
    )


def references_of(order: Order, *, is_away: bool = False) -> Callable[[], References]:
    """Return what makes the reader of references, in the process that reads.

    Args:
        order: the server's.
        is_away: whether that process asks no service; see `RemoteOptions`.
    """

    def find() -> References:
        # Most mounts have none.
        from artifactfs.reference.policy import ReferencePolicy  # noqa: PLC0415
        from artifactfs.reference.references import References  # noqa: PLC0415

        return References(ReferencePolicy(order.follow_references), replace(remote_of(order), is_away=is_away))

    return find
