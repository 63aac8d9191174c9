"""Blobs and stored trees together: all content that versions are made of.

Blobs are bytes to `blobstore`; what a tree is, this layer knows.

Used by trees, put, commit, checkout and verify. Threading: both classes may be shared by threads.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, Self

from artifactfs.blobstore.blobbatch import BlobBatch
from artifactfs.blobstore.blobs import BlobStore
from artifactfs.blobstore.keys import tree_key, treepack_key
from artifactfs.blobstore.packs import PackFiles
from artifactfs.blobstore.places import TREES
from artifactfs.blobstore.remote import RangeKeeper
from artifactfs.blobstore.soundness import SoundPacks
from artifactfs.blobstore.verifying import MemoryVerified
from artifactfs.errors import (
    ArtifactFSError,
    BlobMissingError,
    DigestMismatchError,
    IntegrityError,
    MalformedError,
)
from artifactfs.repository.standing import is_all_stored
from artifactfs.repository.treepacks import TreePacker, as_placement
from artifactfs.storedpage import decode_stored, encode_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from types import TracebackType

    from artifactfs.blobstore.base import Store
    from artifactfs.blobstore.blobs import VerifiedLog
    from artifactfs.blobstore.places import PlaceLog
    from artifactfs.digest import Digest
    from artifactfs.manifest import Page
    from artifactfs.model import Placement
    from artifactfs.repository.treepacks import AnyPlace
    from artifactfs.storedpage import StoredPage


TREES_LIMIT: Final = 4096
"""So many loose trees are held back; then blobs and trees are flushed, in that order."""
LOOK_EVERY: Final = 64
"""After so many pages those are written that wait for nothing."""
PACKS_LIMIT: Final = 64
"""After so many packs everything is flushed, so that a killed writer has something to go on from."""


class PlaceFinder(Protocol):
    """Knows where content lies that is not where it should be; `Survey` is one."""

    def find_places(self, table: bytes, digest: bytes) -> list[Placement]:
        """Return all known places of a file or page."""


class ContentStore(BlobStore):
    """Blobs and trees by digest. May be shared by threads.

    Attributes:
        treepacks: reads from tree packs.
        finder: knows where else content may lie; None asks nobody.
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
        super().__init__(store, verified, places=places, packed_below=packed_below, announce=announce)
        self.treepacks = PackFiles(store, verified, key=treepack_key)
        self.finder: PlaceFinder | None = None

    def begin(self, *, avoid: Collection[bytes] = (), doubts: bool = False) -> ContentBatch:
        """Return a new batch; what lies in the packs and tree packs `avoid` (raw digests) is stored again.

        Args:
            avoid: is taken as missing.
            doubts: whether a store that keeps checksums is not believed: what is there is read, and what is damaged
                replaced.
        """
        return ContentBatch(self, avoid=avoid, doubts=doubts)

    @property
    def in_place(self) -> InPlace:
        """A reader of trees that looks only where they should be: for whoever decides what is needed there."""
        return InPlace(self)

    def distrusting(self) -> ContentStore:
        """Return the same content, of which nothing that was verified earlier is believed."""
        found = ContentStore(
            self.store,
            MemoryVerified(),
            places=self.places,
            packed_below=self.packed_below,
            announce=self.announce,
        )
        found.finder = self.finder
        return found

    def forget(self) -> None:
        """Look at every pack and tree pack again before it is read."""
        self.packs.forget()
        self.treepacks.forget()

    def read_tree(self, digest: Digest, placement: Placement | None = None) -> StoredPage:
        """Return a stored tree, verified, from wherever it lies.

        Args:
            digest: the tree digest.
            placement: where it should be, when not as an object of its own.

        Raises:
            BlobMissingError: it is neither there nor elsewhere.
            DigestMismatchError: what is there hashes to something else.
            MalformedError: it does not decode.
        """
        try:
            return self.read_stored_tree(digest, placement)
        except (BlobMissingError, DigestMismatchError, MalformedError):
            store, place = self.store, placement
            if place is not None and isinstance(store, RangeKeeper):
                store.forget_range(treepack_key(place.pack), place.offset, place.size)
                with suppress(BlobMissingError, DigestMismatchError, MalformedError):
                    return self.read_stored_tree(digest, placement)
            found = self._find_tree(digest, placement)
            if found is None:
                raise
            return found

    def _find_tree(self, digest: Digest, placement: Placement | None) -> StoredPage | None:
        """Return a page that is not where it should be, from where else it lies; None when it lies nowhere."""
        others = self.finder.find_places(TREES, digest.raw) if self.finder is not None else []
        for place in [*others, None]:
            if place != placement:
                with suppress(BlobMissingError, DigestMismatchError, MalformedError):
                    return self.read_stored_tree(digest, place)
        return None

    def read_stored_tree(self, digest: Digest, placement: Placement | None = None) -> StoredPage:
        """Return a tree from where it should be, verified; otherwise as `read_tree`."""
        key = tree_key(digest.raw) if placement is None else treepack_key(placement.pack)
        try:
            if placement is None:
                return decode_stored(self.store.read(key), expected=digest)
            data = self.treepacks.open_part(placement).read_at(0, placement.size)
            return decode_stored(data, expected=digest, holder=placement.pack)
        except (DigestMismatchError, MalformedError) as error:
            hint = f"restore {key} from a copy of the repository"
            raise type(error)(error.message, hint=hint, subject=str(digest)) from error


class InPlace:
    """Reads stored trees from where they should be, and nowhere else. May be shared by threads."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content

    def read_tree(self, digest: Digest, placement: Placement | None = None) -> StoredPage:
        """Return a stored tree, verified; see `ContentStore.read_stored_tree`."""
        return self._content.read_stored_tree(digest, placement)


class ContentBatch(BlobBatch):
    """Stores many blobs and trees. Threads may share it.

    Trees have a batch of their own, which is flushed after the blobs: a tree that is in the store names
    blobs that are there, whatever happened.
    """

    def __init__(self, content: ContentStore, *, avoid: Collection[bytes] = (), doubts: bool = False) -> None:
        super().__init__(content, content.store.begin_batch(), avoid=avoid, doubts=doubts)
        self._content = content
        self._sound_trees = SoundPacks(
            content.store, content.verified, key=treepack_key, note=content.damaged.add, doubts=doubts
        )
        self._trees = content.store.begin_batch()
        packs = bool(content.packed_below)
        self._treepacker = TreePacker(content, self._trees, avoid=avoid, doubts=doubts) if packs else None
        self._tree_count = 0
        self._tree_guard = threading.RLock()
        self._pack_count = 0

    def store_tree(self, page: Page, places: Sequence[AnyPlace] = ()) -> AnyPlace:
        """Store one page of a directory, and return where it lies: known after `flush`.

        Args:
            page: what to store; the pages that it names were stored before.
            places: where the content of each item lies; nothing when all is loose.

        Raises:
            StorageFullError: there is no room; nothing is left of it.
        """
        if self._treepacker is not None:
            with self._tree_guard:
                place = self._treepacker.add(page, places)
                if self._treepacker.waiting_count % LOOK_EVERY == 0:
                    self._treepacker.write_ready()  # nothing completes a pack where all files are stored already
                return place
        data = encode_stored(page, [as_placement(place) for place in places])
        key = tree_key(page.tree)
        if not self._trees.reuse(key, len(data)) or self._is_damaged(key, page):
            self._trees.name(self._trees.write((data,)), key)
            self._count_tree()
        return None

    def find_stored_tree(self, tree: bytes) -> AnyPlace:
        """Return where the top page of a directory of files lies, if all of it is stored; None when that is not sure.

        Nothing is sure of what was damaged. Flush makes the names of all of it durable too.
        """
        if self._treepacker is None:
            return None
        with self._tree_guard:
            known = self._treepacker.find_complete(tree)
        place = as_placement(known)
        return known if place is not None and is_all_stored(self, tree, place) else None

    def has_treepack(self, pack: bytes) -> bool:
        """Return whether a tree pack is there; flush makes its name durable too."""
        with self._tree_guard:
            return self._treepacker is not None and self._treepacker.has_treepack(pack)

    def read_stored_page(self, place: Placement) -> bytes | None:
        """Return the bytes of a stored page from a tree pack that is undamaged, or None."""
        if not self._sound_trees.is_sound(place.pack):
            return None
        try:
            return self._content.treepacks.open_part(place).read_at(0, place.size)
        except ArtifactFSError:
            return None

    def seal_pack(self) -> None:
        """Complete the pack that is being filled, and write the trees that waited for it.

        Raises:
            StorageFullError: there is no room.
        """
        super().seal_pack()
        if self._treepacker is None:
            return
        with self._tree_guard:
            self._treepacker.write_ready()
            self._pack_count += 1
            is_due = self._pack_count >= PACKS_LIMIT
        if is_due:
            self._flush_all()

    def flush(self) -> None:
        """Make everything stored so far visible and durable: first blobs, then trees.

        Raises:
            StorageFullError: there is no room; each object is visible as a whole or not at all.
        """
        super().seal_pack()
        self._flush_all()

    def _flush_all(self) -> None:
        self._publish_blobs()
        with self._tree_guard:
            self._tree_count = self._pack_count = 0
            if self._treepacker is not None:
                self._treepacker.write_ready()
                self._treepacker.seal()
                if self._treepacker.has_written:
                    self._blobs.announce()
        self._record(self._trees.flush())

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard what was not flushed."""
        if self._treepacker is not None:
            self._treepacker.abort()
        self._trees.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)

    def _is_damaged(self, key: str, page: Page) -> bool:
        """Return whether a stored tree of the right size has other bytes; if so, it is replaced."""
        if self._believes:
            return False
        try:
            decode_stored(self._store.read(key), expected=page.digest)
        except BlobMissingError:
            return False  # named in this batch, and not visible yet
        except IntegrityError:
            self._trees.distrust(key)
            self._content.damaged.add(key)
            return True
        return False

    def _count_tree(self) -> None:
        with self._tree_guard:
            self._tree_count += 1
            full = self._tree_count >= TREES_LIMIT
        if full:
            self.flush()
