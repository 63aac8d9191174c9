"""Blobs by digest, on any store: large ones are objects of their own, small ones lie end to end in packs.

`blobbatch.py` stores them.

Used by the repository. Threading: a BlobStore may be shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.blobstore.hashing import BLOCK_SIZE
from artifactfs.blobstore.keys import blob_key
from artifactfs.blobstore.packs import PackFiles
from artifactfs.blobstore.places import MemoryPlaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactfs.blobstore.base import ObjectFile, Store
    from artifactfs.blobstore.packing import Place
    from artifactfs.blobstore.packs import PackPlace
    from artifactfs.blobstore.places import PlaceLog

SMALL: Final = BLOCK_SIZE
"""A file up to this size is read whole before it is hashed and written; each thread holds one."""


class BlobName(Protocol):
    """What names a blob: its digest, size, and the digest of its sums when it is over 4 MiB."""

    @property
    def sha256(self) -> bytes:
        """Raw SHA-256 of the content."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sums(self) -> bytes | None:
        """Raw SHA-256 of the sums object, or None."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob in the store, as an entry names it, and where it lies; None when it is an object of its own."""

    sha256: bytes
    size: int
    sums: bytes | None = None
    place: Place | None = None


class VerifiedLog(Protocol):
    """Remembers which stored files were seen to hash to their name. May forget at any time."""

    def has_verified(self, sha256: bytes, signature: bytes) -> bool:
        """Return whether the file with this signature was recorded with this digest."""

    def add_verified(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Record pairs of raw digest and signature."""


class BlobStore:
    """Blobs by digest. May be shared by threads.

    Attributes:
        store: where the objects lie.
        verified: learns of what is stored here, since that was hashed on its way.
        places: learns in which pack it lies.
        packs: reads from packs.
        packed_below: smaller blobs are put into packs; 0 makes every blob an object of its own.
        announce: called before the first pack of a batch appears.
        damaged: keys of damaged objects that batches met, and stored anew what was to be stored of them.
    """

    def __init__(
        self,
        store: Store,
        verified: VerifiedLog,
        *,
        places: PlaceLog | None = None,
        packed_below: int = 0,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.verified = verified
        self.places = places if places is not None else MemoryPlaces()
        self.packs = PackFiles(store, verified)
        self.packed_below = packed_below
        self.announce = announce
        self.damaged: set[str] = set()

    def has_blob(self, sha256: bytes, size: int) -> bool:
        """Return whether a blob of this digest and size is in the store; its bytes are not looked at."""
        return self.store.find_size(blob_key(sha256)) == size

    def open_blob(self, blob: BlobName, place: PackPlace | None = None) -> ObjectFile:
        """Return a stored blob, not verified.

        Args:
            blob: which.
            place: where it lies, when not as an object of its own.

        Raises:
            BlobMissingError: it is not there.
            DigestMismatchError: the pack is too short.
        """
        return self.store.open(blob_key(blob.sha256)) if place is None else self.packs.open_part(place)
