"""Blobs by digest, on any store.

Used by the repository. Threading: BlobStore may be shared, and so may a batch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, Self

from artifactfs.blobstore.base import Published
from artifactfs.blobstore.hashing import BLOCK_SIZE, StreamHasher, hash_file
from artifactfs.blobstore.keys import BLOBS_PREFIX, blob_key, sums_key
from artifactfs.digest import CHUNK_SIZE, DIGEST_SIZE
from artifactfs.errors import BlobMissingError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from artifactfs.blobstore.base import ObjectBatch, ObjectFile, Store

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
    """A blob in the store, as an entry names it."""

    sha256: bytes
    size: int
    sums: bytes | None = None


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
    """

    def __init__(self, store: Store, verified: VerifiedLog) -> None:
        self.store = store
        self.verified = verified

    def begin(self) -> BlobBatch:
        """Return a new batch."""
        return BlobBatch(self.store, self.store.begin_batch(), self.verified)

    def has_blob(self, sha256: bytes, size: int) -> bool:
        """Return whether a blob of this digest and size is in the store; its bytes are not looked at."""
        return self.store.find_size(blob_key(sha256)) == size

    def open_blob(self, blob: BlobName) -> ObjectFile:
        """Return a stored blob, not verified.

        Raises:
            BlobMissingError: it is not in the store.
        """
        return self.store.open(blob_key(blob.sha256))


class BlobBatch:
    """Stores many blobs. A context manager: what was not flushed is discarded. Threads may share it."""

    def __init__(self, store: Store, batch: ObjectBatch, verified: VerifiedLog) -> None:
        self._store = store
        self._batch = batch
        self._verified = verified

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard what was not flushed."""
        self._batch.__exit__(kind, error, trace)

    def store_blob(self, source: BinaryIO, *, size_hint: int = 0) -> StoredBlob:
        """Store all bytes that `source` still has, and return their digest.

        Args:
            source: read to its end; stays open.
            size_hint: expected bytes; only the speed depends on it.

        Raises:
            StorageFullError: there is no room; nothing is left of it.
            OSError: from reading `source`.
        """
        head = source.read(min(size_hint, SMALL) + 1)
        if len(head) > SMALL:
            return self._store_stream(source, head)
        while more := source.read(SMALL + 1 - len(head)):
            head += more
            if len(head) > SMALL:
                return self._store_stream(source, head)
        return self.store_bytes(head)

    def keep_blob(self, blob: BlobName) -> bool:
        """Return whether a blob is stored already, with its sums; if so, flush makes its name durable too."""
        if not self._is_stored(blob_key(blob.sha256), blob.sha256, blob.size):
            return False
        sums_size = -(-blob.size // CHUNK_SIZE) * DIGEST_SIZE
        return blob.sums is None or self._is_stored(sums_key(blob.sums), blob.sums, sums_size)

    def store_bytes(self, data: bytes) -> StoredBlob:
        """Store a blob that is in memory (up to 4 MiB: it gets no sums).

        Raises:
            StorageFullError: there is no room; nothing is left of it.
        """
        assert len(data) <= CHUNK_SIZE
        sha256 = hashlib.sha256(data).digest()
        self._store_object(blob_key(sha256), sha256, data)
        return StoredBlob(sha256, len(data))

    def flush(self) -> None:
        """Make everything stored so far visible and durable.

        Raises:
            StorageFullError: there is no room; each blob is visible as a whole or not at all.
        """
        self._record(self._batch.flush())

    def _store_object(self, key: str, sha256: bytes, data: bytes) -> None:
        if not self._is_stored(key, sha256, len(data)):
            self._batch.name(self._batch.write((data,)), key)

    def _is_stored(self, key: str, sha256: bytes, size: int) -> bool:
        """Return whether the store has an object, undamaged: if it was touched since it was verified, it is read.

        So storing the same bytes again mends an object that was damaged.
        """
        if not self._batch.reuse(key, size):
            return False
        if self._store.keeps_checksums:
            return True
        try:
            file = self._store.open(key)
        except BlobMissingError:
            return True  # named in this batch, and not visible yet
        try:
            if self._verified.has_verified(sha256, file.signature()) or hash_file(file) == sha256:
                return True
        finally:
            file.close()
        self._batch.distrust(key)
        return False

    def _store_stream(self, source: BinaryIO, head: bytes) -> StoredBlob:
        with StreamHasher(source) as hasher:
            handle = self._batch.write(hasher.iter_blocks(head))
            sha256, sums = hasher.finish()
        size = hasher.size
        if self._is_stored(blob_key(sha256), sha256, size):
            self._batch.discard(handle)
        else:
            self._batch.name(handle, blob_key(sha256))
        if size <= CHUNK_SIZE:
            return StoredBlob(sha256, size)
        name = hashlib.sha256(sums).digest()
        self._store_object(sums_key(name), name, sums)
        return StoredBlob(sha256, size, name)

    def _record(self, published: list[Published]) -> None:
        items = [
            (bytes.fromhex(key.rpartition("/")[2]), signature)
            for key, signature in published
            if key.startswith(BLOBS_PREFIX) and signature
        ]
        if items:
            self._verified.add_verified(items)
