"""Writing trees into tree packs: children before their parents, each page saying where its content lies.

A page can be written when the packs that hold its files are complete, because their names stand in it. Until then it
waits, in order. A page that is stored already, with the same placements, is not written again.

Used by `objects`. Threading: a TreePacker belongs to one thread at a time.

Source: docs/format.md sections 4.4 and 7.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.hashing import hash_file
from artifactfs.blobstore.keys import tree_key, treepack_key
from artifactfs.blobstore.packing import Packer, PackName, Place
from artifactfs.blobstore.places import TREES
from artifactfs.errors import ArtifactFSError, BlobMissingError
from artifactfs.model import Placement
from artifactfs.storedpage import SELF, decode_stored, encode_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artifactfs.blobstore.base import ObjectBatch
    from artifactfs.manifest import Page
    from artifactfs.repository.objects import ContentStore

TREEPACK_SIZE: Final = 16 << 20


class PagePlace:
    """Where a stored page lies; known when it was written, or found.

    Attributes:
        place: its place in a tree pack; None when it is an object of its own.
        is_known: whether that is decided.
    """

    __slots__ = ("is_known", "place")

    def __init__(self) -> None:
        self.place: Place | None = None
        self.is_known = False


AnyPlace = Place | Placement | PagePlace | None
"""Where some content lies, as far as it is known. None: it is an object of its own."""


def as_placement(place: AnyPlace) -> Placement | None:
    """Return a place as trees and records state it; its pack must be complete."""
    if isinstance(place, PagePlace):
        assert place.is_known
        place = place.place
    if place is None or isinstance(place, Placement):
        return place
    return Placement(place.pack, place.offset, place.size)


class TreePacker:
    """Writes pages. Belongs to one thread at a time.

    Attributes:
        has_written: whether a tree pack was completed.
    """

    def __init__(
        self, content: ContentStore, batch: ObjectBatch, *, avoid: Iterable[bytes] = (), doubts: bool = False
    ) -> None:
        """Store what pages are compared with, where new ones go, and which tree packs are taken as missing.

        With `doubts` a store that keeps checksums is not believed.
        """
        self._content = content
        self._believes = content.store.keeps_checksums and not doubts
        self._batch = batch
        self._packer = Packer(batch, key=treepack_key, size=TREEPACK_SIZE)
        self._waiting: deque[tuple[Page, Sequence[AnyPlace], PagePlace]] = deque()
        self._fresh: dict[bytes, Place] = {}
        self._known: dict[bytes, Place] = {}
        self._packs: dict[bytes, PackName | None] = dict.fromkeys(avoid)
        self.has_written = False

    @property
    def waiting_count(self) -> int:
        """Pages that wait."""
        return len(self._waiting)

    def add(self, page: Page, places: Sequence[AnyPlace]) -> PagePlace:
        """Take a page, whose children were taken before, and return where it will lie.

        Args:
            page: what to store.
            places: of each item's content; nothing when all is loose.
        """
        found = PagePlace()
        self._waiting.append((page, places, found))
        return found

    def write_ready(self) -> None:
        """Write the pages that wait for nothing more.

        Raises:
            StorageFullError: there is no room.
        """
        while self._waiting and all(map(self._is_known, self._waiting[0][1])):
            page, places, found = self._waiting.popleft()
            found.place = self._write(page, places)
            found.is_known = True

    def seal(self) -> None:
        """Complete the tree pack that is being filled.

        Raises:
            StorageFullError: there is no room; nothing of the tree pack is left.
        """
        fresh, self._fresh = self._fresh, {}
        name = self._packer.seal()
        if name is None or name.digest is None:
            return
        self.has_written = True
        self._packs[name.digest] = name
        self._known.update(fresh)
        key = treepack_key(name.digest)
        if not self._believes:
            self._check_present(key, name.digest)
        self._content.places.add_places(TREES, fresh.items())

    def _check_present(self, key: str, digest: bytes) -> None:
        """Decide that what lies under the name of a new tree pack already is replaced if it is damaged."""
        try:
            file = self._content.store.open(key)
        except BlobMissingError:
            return
        try:
            if hash_file(file) != digest:
                self._batch.distrust(key)
                self._content.damaged.add(key)
        finally:
            file.close()

    def abort(self) -> None:
        """Drop what is not complete."""
        self._packer.abort()

    def _is_known(self, place: AnyPlace) -> bool:
        if isinstance(place, PagePlace):
            return place.is_known
        return not isinstance(place, Place) or place.name.digest is not None

    def _is_new(self, place: PagePlace) -> bool:
        """Return whether a page lies in the tree pack that is being filled."""
        return place.place is not None and place.place.name.digest is None

    def _write(self, page: Page, places: Sequence[AnyPlace]) -> Place | None:
        fresh = self._fresh.get(page.tree)
        if fresh is not None:
            return fresh
        known = self._find_placed(page, places)
        if known is not None:
            return known
        if self._is_stored_loose(page, places):
            return None
        if self._packer.is_full:
            self.seal()
        place = self._packer.add(encode_stored(page, self._resolve(places)))
        self._fresh[page.tree] = place
        return place

    def _resolve(self, places: Sequence[AnyPlace], *, holder: bytes | None = None) -> list[Placement | None]:
        """Return placements as they are written in the tree pack being filled, or in the complete one `holder`."""
        found: list[Placement | None] = []
        for place in places:
            where = place.place if isinstance(place, PagePlace) else place
            if isinstance(where, Place):
                pack = where.name.digest
                where = Placement(SELF if pack is None or pack == holder else pack, where.offset, where.size)
            elif where is not None and where.pack == holder:
                where = Placement(SELF, where.offset, where.size)
            found.append(where)
        return found

    def _find_placed(self, page: Page, places: Sequence[AnyPlace]) -> Place | None:
        """Return where the same page lies with the same placements, or None."""
        known = self._known.get(page.tree) or self._find_known(page.tree)
        return known if known is not None and self._is_same(page, places, known) else None

    def _is_stored_loose(self, page: Page, places: Sequence[AnyPlace]) -> bool:
        """Return whether the same page is an object of its own, which says of everything in it that it is loose."""
        if any(place is not None for place in self._resolve(places)):
            return False
        data = encode_stored(page)
        key = tree_key(page.tree)
        if not self._batch.reuse(key, len(data)):
            return False
        try:
            return self._content.store.read(key) == data
        except BlobMissingError:
            return False

    def find_complete(self, tree: bytes) -> Place | None:
        """Return where a page lies in a tree pack that is complete and there, or None; flush makes its name durable."""
        known = self._known.get(tree) or self._find_known(tree)
        return None if known is None or known.name.digest is None else known

    def has_treepack(self, pack: bytes) -> bool:
        """Return whether a tree pack is there; flush makes its name durable."""
        return self._find_pack(pack) is not None

    def _find_known(self, tree: bytes) -> Place | None:
        known = self._content.places.find_places(TREES, (tree,)).get(tree)
        name = None if known is None else self._find_pack(known.pack)
        return None if known is None or name is None else Place(name, known.offset, known.size)

    def _find_pack(self, pack: bytes) -> PackName | None:
        if pack not in self._packs:
            key = treepack_key(pack)
            size = self._content.store.find_size(key)
            is_there = size is not None and self._batch.reuse(key, size)
            self._packs[pack] = PackName(pack, size or 0) if is_there else None
        return self._packs[pack]

    def _is_same(self, page: Page, places: Sequence[AnyPlace], known: Place) -> bool:
        if known.name.digest is None:
            return False
        if page.tree in self._known:
            return True  # written in this batch, from the same entries
        if any(isinstance(place, PagePlace) and self._is_new(place) for place in places):
            return False  # something below it is being written now
        data = encode_stored(page, self._resolve(places, holder=known.name.digest))
        if len(data) != known.size:
            return False
        try:
            found = self._content.treepacks.open_part(known).read_at(0, known.size)
            if found != data:
                decode_stored(found, expected=page.digest, holder=known.name.digest)  # it may name other places
        except ArtifactFSError:
            self._content.damaged.add(treepack_key(known.name.digest))
            return False
        return found == data
