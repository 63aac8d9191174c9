"""Which staging directories a view shows: the interface, and that of a view that shows none.

Used by `catalogue_view` and by `mount`, which knows. Threading: see the implementations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class StagingPlaces(Protocol):
    """Which staging directories a collection has, and where a view shows them."""

    def staging_collections(self) -> Sequence[str]:
        """Return the collections that have a staging directory, also those that have no version yet."""

    def staging_names(self, collection: str) -> Sequence[str]:
        """Return the names of a collection's staging directories, without `@`."""

    def find_link(self, collection: str, name: str) -> str | None:
        """Return the path that `@name` links to; None makes it an empty directory to bind over."""


class NoStaging:
    """The `StagingPlaces` of a view that shows no staging directories. Any thread may use it."""

    def staging_collections(self) -> Sequence[str]:
        """Return none."""
        return ()

    def staging_names(self, collection: str) -> Sequence[str]:  # noqa: ARG002 - part of the interface
        """Return none."""
        return ()

    def find_link(self, collection: str, name: str) -> str | None:  # noqa: ARG002
        """Return none."""
        return None
