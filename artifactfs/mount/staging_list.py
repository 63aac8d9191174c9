"""Which staging directories a mount shows, and where: `vfs`'s `StagingPlaces`.

Used by `building` and the kernel transport.

Threading: may be shared by threads.
"""

from __future__ import annotations

from collections.abc import Sequence

from artifactfs.mount.orders import Order
from artifactfs.mount.registry import staging_mountpoint
from artifactfs.repository.repository import Repository
from artifactfs.staging.layout import iter_infos


class StagingList:
    """The staging directories of a repository, read afresh each time; `vfs`'s `StagingPlaces`.

    Threading: may be shared by threads.
    """

    def __init__(self, repository: Repository, order: Order) -> None:
        self._repository = repository
        self._order = order

    def staging_collections(self) -> Sequence[str]:
        """Return the collections that have one."""
        return sorted({info.collection for info in iter_infos(self._repository.state_directory)})

    def staging_names(self, collection: str) -> Sequence[str]:
        """Return the names in a collection."""
        return [info.name for info in iter_infos(self._repository.state_directory, collection)]

    def find_link(self, collection: str, name: str) -> str | None:
        """Return where its own mount is, if it cannot be bound over the name."""
        if not self._order.staging_links:
            return None
        return staging_mountpoint(self._order, self._repository.id, collection=collection, name=name)
