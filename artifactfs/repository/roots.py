"""Which versions of a collection must be kept whole.

Used by prune and check. Threading: pure functions over immutable values.

Source: docs/format.md section 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from artifactfs.model import Collection, Root


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept besides live and pinned versions.

    Attributes:
        deleted_after_ns: versions deleted at this time or later; None keeps no deleted one.
        shown: collection and number of versions that somebody looks at, deleted or not.
    """

    deleted_after_ns: int | None = None
    shown: Container[tuple[str, int]] = ()


NOTHING_MORE = Keeping()


def iter_roots(collection: Collection, keeping: Keeping = NOTHING_MORE) -> Iterator[tuple[int, Root]]:
    """Yield number and root of each version that must be kept whole, in order of numbers."""
    pinned = {pin.version for pin in collection.pins.values()}
    roots = {number: version.root for number, version in collection.versions.items()}
    for number, (time_ns, root) in collection.deleted.items():
        is_young = keeping.deleted_after_ns is not None and time_ns >= keeping.deleted_after_ns
        if is_young or number in pinned or (collection.name, number) in keeping.shown:
            roots[number] = root
    yield from sorted(roots.items())
