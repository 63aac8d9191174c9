"""What a repository asks of its index, and how that is opened.

Used by `repository.py`. Threading: a function without state; an index may be shared by threads.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from artifactfs.errors import StorageFullError
from artifactfs.repository.states import StateIndex

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.blobstore.places import PlaceLog
    from artifactfs.repository.unchanged import SourceLog

_log = logging.getLogger(__name__)


class RepositoryIndex(StateIndex, Protocol):
    """What a repository asks of its index. Anything may be forgotten at any time."""

    @property
    def places(self) -> PlaceLog:
        """Where content lies in packs."""

    @property
    def sources(self) -> SourceLog:
        """Local files that were put."""

    def has_verified(self, sha256: bytes, signature: bytes) -> bool:
        """Return whether the file with this signature was recorded with this digest."""

    def add_verified(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Record pairs of raw digest and signature."""

    def close(self) -> None:
        """Release it."""


def open_repository_index(directory: str, repository_id: str) -> RepositoryIndex | None:
    """Return the index in a directory, or None where there is no room for one."""
    # LMDB is loaded only by commands that use the index.
    from artifactfs.index.index import open_index  # noqa: PLC0415

    try:
        return open_index(directory, repository_id=repository_id)
    except StorageFullError as error:
        _log.warning("going on without an index, which takes longer: %s", error)
        return None
