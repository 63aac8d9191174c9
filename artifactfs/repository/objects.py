"""Blobs and stored trees together: all content that versions are made of.

Blobs are bytes to `blobstore`; what a tree is, this layer knows.

Used by trees, put, commit, checkout and verify. Threading: both classes may be shared by threads.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Self

from artifactfs.blobstore.blobs import BlobBatch, BlobStore
from artifactfs.blobstore.keys import tree_key
from artifactfs.errors import BlobMissingError, DigestMismatchError, IntegrityError, MalformedError
from artifactfs.manifest import decode_stored, encode_stored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from artifactfs.blobstore.base import Store
    from artifactfs.blobstore.blobs import VerifiedLog
    from artifactfs.digest import Digest
    from artifactfs.manifest import Page, StoredPage
    from artifactfs.model import Placement


TREES_LIMIT: Final = 4096
"""So many trees are held back; then blobs and trees are flushed, in that order."""


class ContentStore(BlobStore):
    """Blobs and trees by digest. May be shared by threads."""

    def begin(self) -> ContentBatch:
        """Return a new batch."""
        return ContentBatch(self.store, self.verified)

    def read_tree(self, digest: Digest, placement: Placement | None = None) -> StoredPage:
        """Return a stored tree, verified.

        Args:
            digest: the tree digest.
            placement: where it lies, when not as an object of its own.

        Raises:
            BlobMissingError: it is not in the store.
            DigestMismatchError: what is there hashes to something else.
            MalformedError: it does not decode.
        """
        key = tree_key(digest.raw)
        if placement is not None:
            msg = f"the tree {digest} lies in a pack, and this release has no packs"
            raise BlobMissingError(msg, subject=str(digest))
        try:
            return decode_stored(self.store.read(key), expected=digest)
        except (DigestMismatchError, MalformedError) as error:
            hint = f"restore {key} from a copy of the repository"
            raise type(error)(error.message, hint=hint, subject=str(digest)) from error


class ContentBatch(BlobBatch):
    """Stores many blobs and trees. Threads may share it.

    Trees have a batch of their own, which is flushed after the blobs: a tree that is in the store names
    blobs that are there, whatever happened.
    """

    def __init__(self, store: Store, verified: VerifiedLog) -> None:
        super().__init__(store, store.begin_batch(), verified)
        self._trees = store.begin_batch()
        self._tree_count = 0
        self._tree_guard = threading.Lock()

    def store_tree(self, page: Page, placements: Sequence[Placement | None] = ()) -> None:
        """Store one page of a directory.

        Raises:
            StorageFullError: there is no room; nothing is left of it.
        """
        data = encode_stored(page, placements)
        key = tree_key(page.tree)
        if not self._trees.reuse(key, len(data)) or self._is_damaged(key, page):
            self._trees.name(self._trees.write((data,)), key)
            self._count_tree()

    def flush(self) -> None:
        """Make everything stored so far visible and durable: first blobs, then trees.

        Raises:
            StorageFullError: there is no room; each object is visible as a whole or not at all.
        """
        super().flush()
        with self._tree_guard:
            self._tree_count = 0
        self._trees.flush()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard what was not flushed."""
        self._trees.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)

    def _is_damaged(self, key: str, page: Page) -> bool:
        """Return whether a stored tree of the right size has other bytes; if so, it is replaced."""
        if self._store.keeps_checksums:
            return False
        try:
            decode_stored(self._store.read(key), expected=page.digest)
        except BlobMissingError:
            return False  # named in this batch, and not visible yet
        except IntegrityError:
            self._trees.distrust(key)
            return True
        return False

    def _count_tree(self) -> None:
        with self._tree_guard:
            self._tree_count += 1
            full = self._tree_count >= TREES_LIMIT
        if full:
            self.flush()
