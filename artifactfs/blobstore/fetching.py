"""Content from an object store, verified chunk by chunk before any of it is handed out.

A chunk is 4 MiB, aligned, checked against the blob's sums; a blob up to 4 MiB is one chunk, checked against its own
digest. Where the cache has a sound chunk, its digest is known already, so it is compared and nothing is hashed, and
bytes go from its file to where they are wanted. A file in a pack is a part of a chunk, and is hashed; that a large one
was good is written down. Other bytes that were verified last are kept in memory, so that reading in small steps asks
for each chunk once.

Used by the repository for remote stores. Threading: FetchingBlobs and the files may be shared.

Source: docs/format.md section 3.
"""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from artifactfs.blobstore.hashing import split_sums
from artifactfs.blobstore.keys import blob_key, pack_key, sums_key
from artifactfs.blobstore.remote import FetchedContent, KeptPart, RangeKeeper
from artifactfs.digest import CHUNK_SIZE, Digest
from artifactfs.errors import DigestMismatchError, MalformedError, OfflineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artifactfs.blobstore.base import ObjectReader
    from artifactfs.blobstore.blobs import BlobName, BlobStore, VerifiedLog
    from artifactfs.blobstore.packs import PackPlace
    from artifactfs.blobstore.remote import RangeReader

KEPT_BYTES: Final = 64 << 20
_NOTED_FROM: Final = 64 << 10
"""Size from which it is written down that a file in a pack was good: smaller ones are hashed sooner than looked up."""

Piece = list[KeptPart] | bytes
"""Verified bytes: parts of sound chunks, or in memory."""


class FetchingBlobs:
    """Opens blobs of an object store. May be shared by threads."""

    def __init__(self, ranges: RangeReader, blobs: BlobStore) -> None:
        self._ranges = ranges
        self._keeper = ranges if isinstance(ranges, RangeKeeper) else None
        self._store: ObjectReader = blobs.store
        self._verified: VerifiedLog = blobs.verified
        self._guard = threading.Lock()
        self._kept: LRUCache[tuple[bytes, int], bytes] = LRUCache(KEPT_BYTES, getsizeof=len)

    def find_known_places(self, blobs: Iterable[BlobName]) -> Mapping[bytes, PackPlace]:  # noqa: ARG002
        """Return nothing: everything that is fetched is verified."""
        return {}

    def open_file(
        self,
        blob: BlobName,
        place: PackPlace | None = None,
        *,
        known: Mapping[bytes, PackPlace] | None = None,  # noqa: ARG002 (of no use here)
    ) -> FetchedFile:
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
            file.look()
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
        if blob.size > CHUNK_SIZE and place is None and self._keeper is not None:
            start = offset // CHUNK_SIZE * CHUNK_SIZE
            self._keeper.want_range(blob_key(blob.sha256), start, min(CHUNK_SIZE, blob.size - start))
        return self.read_sums(blob)

    def load_chunk(self, blob: BlobName, number: int, digest: bytes, place: PackPlace | None = None) -> Piece:
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
        start = number * CHUNK_SIZE
        key, base = locate(blob, place)
        size = min(CHUNK_SIZE, blob.size - start)
        found = self._find_kept(key, base + start, size, digest)
        if found is not None:
            return found
        with self._guard:
            kept = self._kept.get((blob.sha256, number))
        if kept is not None:
            return kept
        data = self._ranges.read_range(key, base + start, size)
        if (found := self._find_kept(key, base + start, size, digest)) is not None:
            return found
        if (
            not _matches(data, digest)
            and self._keeper is not None
            and self._keeper.forget_range(key, base + start, size)
        ):
            data = self._ranges.read_range(key, base + start, size)
        if not _matches(data, digest):
            raise _damaged(blob, key, start, len(data))
        with self._guard:
            self._kept[blob.sha256, number] = data
        return data

    def _find_kept(self, key: str, offset: int, size: int, digest: bytes) -> Piece | None:
        """Return a range if sound chunks hold it and it hashes to `digest`."""
        parts = self._keeper.find_kept(key, offset, size) if self._keeper is not None else []
        if not parts:
            return None
        if len(parts) == 1 and parts[0].chunk.size == size:
            return parts if parts[0].chunk.sha256 == digest else None
        parts[0].chunk.read_ahead(parts[0].start)
        # Which bytes of which chunk hash to what is true for good.
        note = b"".join([b"chunk", *(b" %s %x" % (part.chunk.sha256, part.start) for part in parts)])
        if size >= _NOTED_FROM and self._verified.has_verified(digest, note):
            return parts
        data = b"".join([part.chunk.read(part.start, part.size) for part in parts])
        if not _matches(data, digest):
            return None
        if size >= _NOTED_FROM:
            self._verified.add_verified([(digest, note)])
        return data

    def note_read(self, blob: BlobName, offset: int, place: PackPlace | None = None) -> None:
        """Take a part of a blob as read by somebody else, so that what comes next can be fetched."""
        if self._keeper is not None:
            key, base = locate(blob, place)
            self._keeper.note_range(key, base + offset)


class FetchedFile(FetchedContent):
    """Content in an object store, open for reading. May be shared by threads."""

    def __init__(self, owner: FetchingBlobs, blob: BlobName, place: PackPlace | None = None) -> None:
        self._owner = owner
        self._blob = blob
        self._place = place
        self._sums: tuple[bytes, ...] = ()
        self._seen: Piece | None = None
        self.size = blob.size

    def look(self) -> None:
        """Read the beginning.

        Raises:
            ArtifactFSError: see `read_at`.
        """
        if self.size:
            self._seen = self._load(0, 0)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the content, verified.

        Raises:
            BlobMissingError: the store does not have it.
            DigestMismatchError, MalformedError: what came is damaged; none of it is returned.
            RemoteError: the service does not answer.
        """
        end = min(offset + size, self.size)
        parts = []
        for number in range(offset // CHUNK_SIZE, -(-end // CHUNK_SIZE)):
            start = number * CHUNK_SIZE
            piece = self._load(number, offset)
            parts.append(_cut(piece, max(offset - start, 0), min(end - start, CHUNK_SIZE)))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, into: memoryview, offset: int) -> int:
        """Read up to as many bytes as fit, verified, and return how many."""
        end = min(offset + len(into), self.size)
        done = 0
        while offset + done < end:
            number, first = divmod(offset + done, CHUNK_SIZE)
            room = into[done : done + min(CHUNK_SIZE - first, end - offset - done)]
            count = _copy(self._load(number, offset), first, room)
            done += count
            if count < len(room):
                break
        return done

    def find_chunk(self, offset: int) -> tuple[object, int]:
        """Return which object, and which chunk of it, holds the byte at `offset`."""
        if self._place is None:
            return self._blob.sha256, offset // CHUNK_SIZE
        return self._place.pack, (self._place.offset + offset) // CHUNK_SIZE

    def _load(self, number: int, offset: int) -> Piece:
        """Return a chunk, verified; `offset` is what is wanted first."""
        # Once: an open chunk that others delete takes room for as long as it is held.
        seen, self._seen = self._seen, None
        if seen is not None and number == 0:
            return seen
        try:
            sums = self._sums = self._sums or self._owner.read_first_sums(self._blob, offset, self._place)
            return self._owner.load_chunk(self._blob, number, sums[number], self._place)
        except OfflineError as error:
            raise _name(error, self._blob) from None

    def note_read(self, offset: int) -> None:
        """Take a part as read by somebody else, so that what comes next can be fetched."""
        self._owner.note_read(self._blob, offset, self._place)

    def extent(self) -> tuple[int, int] | None:
        """Return None: there is no file."""
        return None

    def close(self) -> None:
        """Do nothing."""


def locate(blob: BlobName, place: PackPlace | None) -> tuple[str, int]:
    """Return key and offset at which a blob begins."""
    return (blob_key(blob.sha256), 0) if place is None else (pack_key(place.pack), place.offset)


def _cut(piece: Piece, first: int, last: int) -> bytes:
    """Return the bytes [first, last) of a chunk."""
    if isinstance(piece, bytes):
        return piece[first:last]
    found = []
    for part in piece:
        begin, end = max(first, 0), min(last, part.size)
        if begin < end:
            found.append(part.chunk.read(part.start + begin, end - begin))
        first, last = first - part.size, last - part.size
    return found[0] if len(found) == 1 else b"".join(found)


def _copy(piece: Piece, first: int, into: memoryview) -> int:
    """Copy the bytes of a chunk from `first` on, as many as fit, and return how many."""
    if not isinstance(piece, bytes) and len(piece) == 1:
        part = piece[0]
        return os.preadv(part.chunk.descriptor, [into[: part.size - first]], part.start + first)
    data = piece if isinstance(piece, bytes) else _cut(piece, 0, sum(part.size for part in piece))
    found = memoryview(data)[first : first + len(into)]
    into[: len(found)] = found
    return len(found)


def _matches(data: bytes, digest: bytes) -> bool:
    return hashlib.sha256(data).digest() == digest


def _damaged(blob: BlobName, key: str, start: int, size: int) -> DigestMismatchError:
    name = Digest(blob.sha256)
    msg = f"the blob {name} is damaged: what came for the {size} bytes from {start} hashes to something else"
    return DigestMismatchError(msg, hint=f"restore {key} from a copy of the repository", subject=str(name))


def _name(error: OfflineError, blob: BlobName) -> OfflineError:
    """Return the error with the name of the file, as far as whoever opened it knew one."""
    name = getattr(blob, "name", b"").decode(errors="backslashreplace")
    return OfflineError(f"{name!r}: {error.message}", hint=error.hint, subject=error.subject) if name else error
