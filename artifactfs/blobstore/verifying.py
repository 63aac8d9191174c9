"""The one place where stored bytes are compared with their digest before a reader gets them.

A file that is known to have been verified, and was not touched since, is read as it is. Any other is verified
first: up to 4 MiB when it is opened, a larger one chunk by chunk as it is read.

Used by the repository for every read of content. Threading: VerifyingBlobs and the files may be shared.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from artifactfs.blobstore.hashing import hash_file, split_sums
from artifactfs.blobstore.keys import blob_key, sums_key
from artifactfs.blobstore.places import FILES
from artifactfs.digest import CHUNK_SIZE, Digest
from artifactfs.errors import DigestMismatchError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.blobstore.blobs import BlobName, BlobStore, VerifiedLog
    from artifactfs.blobstore.packs import PackPlace


class ReadableFile(Protocol):
    """Verified content, open for reading. Threads may share it."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the content, verified.

        Raises:
            DigestMismatchError: the stored bytes are damaged; none of them is returned.
        """

    def extent(self) -> tuple[int, int] | None:
        """Return descriptor and offset of a local file where exactly these bytes lie, all verified, or None."""

    def close(self) -> None:
        """Release the file; a second call does nothing."""


class MemoryVerified:
    """A VerifiedLog that lasts as long as the process. May be shared by threads."""

    def __init__(self, *, limit: int = 1 << 17) -> None:
        self._known: dict[bytes, bytes] = {}
        self._limit = limit
        self._guard = threading.Lock()

    def has_verified(self, sha256: bytes, signature: bytes) -> bool:
        """Return whether the file with this signature was recorded with this digest."""
        return bool(signature) and self._known.get(sha256) == signature

    def add_verified(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Record pairs of raw digest and signature; the oldest are forgotten over the limit."""
        with self._guard:
            for sha256, signature in items:
                self._known.pop(sha256, None)
                self._known[sha256] = signature
            while len(self._known) > self._limit:
                del self._known[next(iter(self._known))]


class VerifyingBlobs:
    """Opens blobs so that only verified bytes come out. May be shared by threads."""

    def __init__(self, blobs: BlobStore, verified: VerifiedLog) -> None:
        self._blobs = blobs
        self._verified = verified

    def find_known_places(self, blobs: Iterable[BlobName]) -> Mapping[bytes, PackPlace]:
        """Return where files of packs are known to lie, by raw digest: to open many of them one after the other."""
        return self._blobs.places.find_places(FILES, [blob.sha256 for blob in blobs])

    def open_file(
        self, blob: BlobName, place: PackPlace | None = None, *, known: Mapping[bytes, PackPlace] | None = None
    ) -> ReadableFile:
        """Return the content that an entry names.

        Args:
            blob: which content.
            place: where it lies in a pack; None when it is an object of its own.
            known: what `find_known_places` returned for it and others; None looks it up.

        Raises:
            BlobMissingError: it is not there.
            DigestMismatchError: what is there has another size or, up to 4 MiB, another digest.
            MalformedError: it is over 4 MiB and has no valid sums.
        """
        if place is not None:
            return self._open_part(blob, place, known)
        file = self._blobs.open_blob(blob)
        try:
            return self._open(blob, file)
        except BaseException:
            file.close()
            raise

    def _open_part(self, blob: BlobName, place: PackPlace, places: Mapping[bytes, PackPlace] | None) -> ReadableFile:
        part = self._blobs.packs.open_part(place)
        if part.is_in_whole_pack and place.size == blob.size:
            # The pack is what its name says. That the file lies there was written down by whoever packed it.
            known = (self.find_known_places((blob,)) if places is None else places).get(blob.sha256)
            if known is not None and (known.pack, known.offset, known.size) == (place.pack, place.offset, place.size):
                return part
        return self._open(blob, part)

    def _open(self, blob: BlobName, file: ObjectFile) -> ReadableFile:
        if file.size != blob.size:
            raise _mismatch(blob, f"it has {file.size} bytes instead of {blob.size}")
        if self._verified.has_verified(blob.sha256, file.signature()):
            return file
        if blob.size <= CHUNK_SIZE:
            _check_whole(blob, file)
            self._record(blob, file)
            return file
        return _ChunkedFile(self, blob, file, self._read_sums(blob))

    def _read_sums(self, blob: BlobName) -> tuple[bytes, ...]:
        if blob.sums is None:
            msg = f"{Digest(blob.sha256)} has {blob.size} bytes and no sums to verify them by"
            raise MalformedError(msg, subject=str(Digest(blob.sha256)))
        data = self._blobs.store.read(sums_key(blob.sums))
        return split_sums(data, expected=blob.sums, size=blob.size)

    def _record(self, blob: BlobName, file: ObjectFile) -> None:
        if signature := file.signature():
            self._verified.add_verified([(blob.sha256, signature)])


class _ChunkedFile:
    """A large blob of which each chunk is verified before its first byte is returned."""

    def __init__(self, owner: VerifyingBlobs, blob: BlobName, file: ObjectFile, sums: tuple[bytes, ...]) -> None:
        self._owner = owner
        self._blob = blob
        self._file = file
        self._sums = sums
        self._good = bytearray(len(sums))
        self._left = len(sums)
        self._guard = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes."""
        return self._blob.size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the content, verified."""
        end = min(offset + size, self.size)
        if self._left and offset < end:
            for number in range(offset // CHUNK_SIZE, -(-end // CHUNK_SIZE)):
                if not self._good[number]:
                    self._verify(number)
        return self._file.read_at(offset, size)

    def extent(self) -> tuple[int, int] | None:
        """Return where the bytes lie once every chunk is verified."""
        return None if self._left else self._file.extent()

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _verify(self, number: int) -> None:
        start = number * CHUNK_SIZE
        digest = hash_file(self._file, start, min(start + CHUNK_SIZE, self.size))
        if digest != self._sums[number]:
            raise _mismatch(self._blob, f"the 4 MiB from byte {start} hash to something else")
        with self._guard:
            if self._good[number]:
                return
            self._good[number] = 1
            self._left -= 1
            complete = not self._left
        if complete:
            self._owner._record(self._blob, self._file)  # noqa: SLF001 (one module, one concern)


def _check_whole(blob: BlobName, file: ObjectFile) -> None:
    digest = hash_file(file)
    if digest != blob.sha256:
        raise _mismatch(blob, f"its bytes hash to {Digest(digest)}")


def _mismatch(blob: BlobName, what: str) -> DigestMismatchError:
    key = blob_key(blob.sha256)
    return DigestMismatchError(
        f"the blob {Digest(blob.sha256)} is damaged: {what}",
        hint=f"restore {key}, or the pack that has it, from a copy of the repository",
        subject=str(Digest(blob.sha256)),
    )
