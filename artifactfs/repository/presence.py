"""Whether the content of a file is on this machine: without asking anybody, and without reading it.

Used by mounts and by commands that list files. Threading: a pure function of what lies in the cache.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import blob_key, pack_key
from artifactfs.blobstore.remote import RangeKeeper
from artifactfs.model import ReferenceEntry

if TYPE_CHECKING:
    from artifactfs.blobstore.blobs import BlobName
    from artifactfs.model import Placement
    from artifactfs.repository.repository import Repository


class Presence(StrEnum):
    """How much of a file is here."""

    LOCAL = "local"
    """It lies in a local repository, or is a reference to a local file: nothing is fetched."""
    CACHED = "cached"
    PARTIAL = "partial"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """Nothing is kept here: each read asks again."""


def find_presence(repository: Repository, entry: BlobName | ReferenceEntry, place: Placement | None = None) -> Presence:
    """Return how much of a file's content is on this machine.

    What is cached can be thrown out at any time, and a part of it can be shared with other files.

    Args:
        repository: of the file.
        entry: of the file.
        place: where its content lies, when not as an object of its own.
    """
    if isinstance(entry, ReferenceEntry):
        if entry.uri.startswith("file://"):
            return Presence.LOCAL
        return _weigh(repository.references.count_kept(entry))
    if not repository.is_remote:
        return Presence.LOCAL
    store = repository.store
    if not isinstance(store, RangeKeeper):
        return Presence.UNKNOWN
    if place is None:
        return _weigh(store.count_kept(blob_key(entry.sha256), 0, entry.size))
    return _weigh(store.count_kept(pack_key(place.pack), place.offset, entry.size))


def _weigh(counts: tuple[int, int] | None) -> Presence:
    if counts is None:
        return Presence.UNKNOWN
    kept, wanted = counts
    if kept == wanted:
        return Presence.CACHED
    return Presence.PARTIAL if kept else Presence.MISSING
