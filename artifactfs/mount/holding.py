"""What a server holds on the file of locks in the repository, by what it is ordered to show.

Used by `daemon`, `kernel` and `building`. Threading: functions without state.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from artifactfs.mount.answering import mount_number
from artifactfs.mount.holds import Holds, open_holds
from artifactfs.mount.orders import LOCKED, LOWER, REPOSITORY, Order
from artifactfs.paths import Ref, parse_ref

if TYPE_CHECKING:
    from artifactfs.model import Collection, Version
    from artifactfs.repository.repository import Repository


def begin_holding(order: Order, *, inherited: int | None = None) -> Holds | None:
    """Return a description that holds what an order names by number; None where nothing can be held.

    Args:
        order: what is served.
        inherited: descriptor of one that this process had before it replaced its program.
    """
    if inherited is not None:
        os.set_inheritable(inherited, False)
    holds = open_holds(order.repository) if inherited is None else Holds(inherited)
    if holds is None:
        return None
    if order.kind == REPOSITORY:
        holds.announce(mount_number(order))
    elif order.kind == LOCKED and order.locked is not None:
        holds.hold((name, number) for name, numbers in order.locked.versions.items() for number in numbers)
    elif order.kind == LOWER:
        ref = parse_ref(order.artifact or "")
        holds.hold([(ref.collection, ref.version or 0)])
    return holds


def resolve_held(repository: Repository, ref: Ref, holds: Holds | None) -> tuple[Collection, Version]:
    """Return the version that a REF means, which is held from before it was last seen to be there.

    Raises:
        NotFoundError: there is none.
    """
    while True:
        collection, version = repository.resolve(ref)
        if holds is None:
            return collection, version
        holds.hold([(collection.name, version.number)])
        # A prune that reads of its removal after this looks at what is held later still.
        if version.number in repository.load_state(collection.name).versions:
            return collection, version
        holds.release([(collection.name, version.number)])
