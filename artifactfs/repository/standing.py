"""Whether a directory that was stored earlier still stands: its pages, and all content that they name.

Used by `objects`. Threading: functions without state; what they ask has its own locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from artifactfs.digest import Digest
from artifactfs.errors import IntegrityError
from artifactfs.model import DirectoryEntry, FileEntry, PageRef
from artifactfs.storedpage import decode_stored, find_extents

if TYPE_CHECKING:
    from artifactfs.blobstore.blobs import BlobName, StoredBlob
    from artifactfs.model import Entry, Placement


class Standing(Protocol):
    """What can be asked of the content; `ContentBatch` is one."""

    def has_treepack(self, pack: bytes) -> bool:
        """Return whether a tree pack is there."""

    def read_stored_page(self, place: Placement) -> bytes | None:
        """Return the bytes of a stored page, from a tree pack that is undamaged; else None."""

    def has_whole_pack(self, pack: bytes, size: int) -> bool:
        """Return whether a pack is there, undamaged, with at least so many bytes."""

    def find_stored(self, blob: BlobName) -> StoredBlob | None:
        """Return a blob that is stored, undamaged, or None."""


def is_all_stored(content: Standing, tree: bytes, place: Placement) -> bool:
    """Return whether a page in a tree pack, all pages below it and the content of its files are stored, undamaged.

    Of a directory that has subdirectories this says False: they are asked about one by one.
    """
    if not content.has_treepack(place.pack):
        return False
    data = content.read_stored_page(place)
    if data is None:
        return False
    try:
        ends = find_extents(data, expected=Digest(tree), holder=place.pack)
        if ends is not None:
            ends.pop(place.pack)
            return all(content.has_whole_pack(pack, end) for pack, end in ends.items())
        stored = decode_stored(data, expected=Digest(tree), holder=place.pack)
    except IntegrityError:
        return False
    pairs = zip(stored.page.items, stored.placements, strict=True)
    return all(_is_stored(content, item, where) for item, where in pairs)


def _is_stored(content: Standing, item: Entry | PageRef, place: Placement | None) -> bool:
    if isinstance(item, PageRef):
        return place is not None and is_all_stored(content, item.tree, place)
    if isinstance(item, DirectoryEntry):
        return False
    if not isinstance(item, FileEntry):
        return True
    if place is not None:
        return content.has_whole_pack(place.pack, place.offset + place.size)
    found = content.find_stored(item)
    return found is not None and found.place is None
