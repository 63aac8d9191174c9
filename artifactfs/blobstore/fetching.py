"""Content from an object store, verified chunk by chunk before any of it is handed out.

A chunk is 4 MiB, aligned, checked against the blob's sums; a blob up to 4 MiB is one chunk, checked against its own
digest. What was verified last is kept in memory, so that reading in small steps asks for each chunk once.

Used by the repository for remote stores. Threading: FetchingBlobs and the files may be shared.

Source: docs/format.md section 3.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from artifactfs.blobstore.hashing import split_sums
from artifactfs.blobstore.keys import blob_key, pack_key, sums_key
from artifactfs.blobstore.remote import RangeKeeper
from artifactfs.digest import CHUNK_SIZE, Digest
from artifactfs.errors import DigestMismatchError, MalformedError, OfflineError

if TYPE_CHECKING:
    from artifactfs.blobstore.base import ObjectReader
    from artifactfs.blobstore.blobs import BlobName, BlobStore
    from artifactfs.blobstore.packs import PackPlace
    from artifactfs.blobstore.remote import RangeReader

KEPT_BYTES: Final = 64 << 20


class FetchingBlobs:
    """Opens blobs of an object store. May be shared by threads."""

    def __init__(self, ranges: RangeReader, blobs: BlobStore) -> None:
        self._ranges = ranges
        self._store: ObjectReader = blobs.store
        self._guard = threading.Lock()
        self._kept: LRUCache[tuple[bytes, int], bytes] = LRUCache(KEPT_BYTES, getsizeof=len)

    def open_file(self, blob: BlobName, place: PackPlace | None = None) -> FetchedFile:
        """Return the content that an entry names.

        Of an object of its own nothing is asked of the store before it is read. What lies in a pack is small, and is
        read: whoever calls looks elsewhere when it is not there.

        Raises:
            MalformedError: it is over 4 MiB and has no sums.
            BlobMissingError, DigestMismatchError: there is no such pack, or it has something else there.
        """
        if blob.size > CHUNK_SIZE and blob.sums is None:
            msg = f"{Digest(blob.sha256)} has {blob.size} bytes and no sums to verify them by"
            raise MalformedError(msg, subject=str(Digest(blob.sha256)))
        file = FetchedFile(self, blob, place)
        if place is not None:
            file.read_at(0, min(blob.size, CHUNK_SIZE))
        return file

    def read_sums(self, blob: BlobName) -> tuple[bytes, ...]:
        """Return the digests of a blob's chunks.

        Raises:
            BlobMissingError: the store does not have them.
            DigestMismatchError, MalformedError: what is there is damaged.
        """
        if blob.size <= CHUNK_SIZE:
            return (blob.sha256,)
        assert blob.sums is not None
        return split_sums(self._store.read(sums_key(blob.sums)), expected=blob.sums, size=blob.size)

    def read_first_sums(self, blob: BlobName, offset: int, place: PackPlace | None) -> tuple[bytes, ...]:
        """Return the digests of a blob's chunks; the chunk at `offset` is fetched beside them where it is kept."""
        if blob.size > CHUNK_SIZE and place is None and isinstance(self._ranges, RangeKeeper):
            start = offset // CHUNK_SIZE * CHUNK_SIZE
            self._ranges.want_range(blob_key(blob.sha256), start, min(CHUNK_SIZE, blob.size - start))
        return self.read_sums(blob)

    def load_chunk(self, blob: BlobName, number: int, digest: bytes, place: PackPlace | None = None) -> bytes:
        """Return a chunk of a blob, verified.

        Args:
            blob: which.
            number: of the chunk, from 0.
            digest: what it must hash to.
            place: where the blob lies in a pack; None when it is an object of its own.

        Raises:
            BlobMissingError: the store does not have it.
            DigestMismatchError: what came hashes to something else; nothing is kept.
            RemoteError: the service does not answer.
        """
        with self._guard:
            found = self._kept.get((blob.sha256, number))
        if found is not None:
            return found
        start = number * CHUNK_SIZE
        key, base = (blob_key(blob.sha256), 0) if place is None else (pack_key(place.pack), place.offset)
        size = min(CHUNK_SIZE, blob.size - start)
        data = self._ranges.read_range(key, base + start, size)
        is_good = hashlib.sha256(data).digest() == digest
        if not is_good and isinstance(self._ranges, RangeKeeper) and self._ranges.forget_range(key, base + start, size):
            data = self._ranges.read_range(key, base + start, size)
            is_good = hashlib.sha256(data).digest() == digest
        if not is_good:
            name = Digest(blob.sha256)
            msg = (
                f"the blob {name} is damaged: what came for the {len(data)} bytes from {start} hashes to something else"
            )
            hint = f"restore {key} from a copy of the repository"
            raise DigestMismatchError(msg, hint=hint, subject=str(name))
        with self._guard:
            self._kept[blob.sha256, number] = data
        return data

    def note_read(self, blob: BlobName, offset: int, place: PackPlace | None = None) -> None:
        """Take a part of a blob as read by somebody else, so that what comes next can be fetched."""
        if isinstance(self._ranges, RangeKeeper):
            key, base = (blob_key(blob.sha256), 0) if place is None else (pack_key(place.pack), place.offset)
            self._ranges.note_range(key, base + offset)


class FetchedFile:
    """Content in an object store, open for reading. May be shared by threads."""

    def __init__(self, owner: FetchingBlobs, blob: BlobName, place: PackPlace | None = None) -> None:
        self._owner = owner
        self._blob = blob
        self._place = place
        self._sums: tuple[bytes, ...] = ()
        self.size = blob.size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the content, verified.

        Raises:
            BlobMissingError: the store does not have it.
            DigestMismatchError, MalformedError: what came is damaged; none of it is returned.
            RemoteError: the service does not answer.
        """
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        parts = []
        try:
            sums = self._sums = self._sums or self._owner.read_first_sums(self._blob, offset, self._place)
            for number in range(offset // CHUNK_SIZE, -(-end // CHUNK_SIZE)):
                start = number * CHUNK_SIZE
                data = self._owner.load_chunk(self._blob, number, sums[number], self._place)
                parts.append(data[max(offset - start, 0) : end - start])
        except OfflineError as error:
            raise _name(error, self._blob) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def note_read(self, offset: int) -> None:
        """Take a part as read by somebody else, so that what comes next can be fetched."""
        self._owner.note_read(self._blob, offset, self._place)

    def extent(self) -> tuple[int, int] | None:
        """Return None: there is no file."""
        return None

    def close(self) -> None:
        """Do nothing."""


def _name(error: OfflineError, blob: BlobName) -> OfflineError:
    """Return the error with the name of the file, as far as whoever opened it knew one."""
    name = getattr(blob, "name", b"").decode(errors="backslashreplace")
    return OfflineError(f"{name!r}: {error.message}", hint=error.hint, subject=error.subject) if name else error
