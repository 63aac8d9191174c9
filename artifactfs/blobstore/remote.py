"""What a bucket can do besides what every store can: parts of objects, uploads in parts, replacing, deleting.

Used by the stores and wrappers for object stores. Threading: a store may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from artifactfs.blobstore.base import ObjectStore
from artifactfs.blobstore.remote_failures import translate_remote_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from artifactfs.blobstore.chunkfiles import OpenChunk


@runtime_checkable
class RangeReader(Protocol):
    """Reads parts of objects without opening them."""

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Return exactly the bytes [offset, offset + size) of an object, which must have them.

        Raises:
            BlobMissingError: there is no such object.
            RemoteError: it is shorter, or the service did not answer.
        """


@runtime_checkable
class RangeKeeper(Protocol):
    """Keeps ranges that it has read."""

    def find_kept(self, key: str, offset: int, size: int) -> list[KeptPart]:
        """Return the parts of chunks that a range consists of; empty unless all are kept."""

    def forget_range(self, key: str, offset: int, size: int) -> bool:
        """Drop what is kept of a range, which turned out to be wrong; return whether there was anything."""

    def want_range(self, key: str, offset: int, size: int) -> None:
        """Begin to fetch an aligned chunk that will be read next; nothing waits for it."""

    def note_range(self, key: str, offset: int) -> None:
        """Take a part of an object as read by somebody else, so that what comes next can be fetched."""

    def count_kept(self, key: str, offset: int, size: int) -> tuple[int, int]:
        """Return how many of the chunks that hold a range are kept, and how many these are."""


class FetchedContent:
    """Content that has no file of its own on this machine, and never will. May be shared by threads.

    A class, because asking whether something follows a protocol takes longer than reading a small file.
    """

    def read_into(self, into: memoryview, offset: int) -> int:
        """Read up to as many bytes as fit, verified, from `offset`, and return how many; fewer only at the end.

        Raises:
            ArtifactFSError: see `read_at`.
        """
        raise NotImplementedError

    def find_chunk(self, offset: int) -> tuple[object, int]:
        """Return which object, and which chunk of it, holds the byte at `offset`."""
        raise NotImplementedError

    def note_read(self, offset: int) -> None:
        """Take a part as read by another process, so that what comes next can be fetched."""
        raise NotImplementedError


class KeptPart(NamedTuple):
    """A part of a chunk that is kept on this machine.

    Attributes:
        chunk: its bytes are what its digest says, and nobody else can change them.
        start: where the part begins in it.
        size: bytes.
    """

    chunk: OpenChunk
    start: int
    size: int


class Uploader(Protocol):
    """Stores objects that may have to replace damage."""

    def replace(self, key: str, data: bytes) -> None:
        """Store an object in place of what is there."""

    def upload(self, key: str, source: BinaryIO, size: int) -> None:
        """Store all `size` bytes of a file in parts; the object appears when all are there and hash to its name.

        Raises:
            DigestMismatchError: they do not; nothing appeared.
        """


class RemoteObjects(ObjectStore, RangeReader, Uploader, Protocol):
    """What a bucket can do."""

    def iter_keys_after(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix` and are greater than the key `after`, in order."""

    def iter_sizes_after(self, prefix: str, after: str) -> Iterator[tuple[str, int]]:
        """Yield the same keys, each with the bytes in its object."""

    def find_time_ns(self, key: str) -> int | None:
        """Return when an object was created, by the service's clock; None when there is none, or nothing says it."""


class RemoteFile:
    """An object of which each read is a request. May be shared by threads."""

    __slots__ = ("_key", "_store", "size")

    def __init__(self, store: RangeReader, key: str, size: int) -> None:
        self._store = store
        self._key = key
        self.size = size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the object."""
        size = min(size, self.size - offset)
        return self._store.read_range(self._key, offset, size) if size > 0 else b""

    def extent(self) -> tuple[int, int] | None:
        """Return None: there is no file."""
        return None

    def signature(self) -> bytes:
        """Return b"": what comes over a network is verified each time."""
        return b""

    def close(self) -> None:
        """Do nothing."""


class _Openable(RangeReader, Protocol):
    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None."""


def open_remote(store: _Openable, key: str) -> RemoteFile:
    """Return an object of a store, open for reading in ranges.

    Raises:
        BlobMissingError: there is none under this key.
    """
    size = store.find_size(key)
    if size is None:
        raise translate_remote_error(FileNotFoundError(), doing="opening", key=key, has_body=False)
    return RemoteFile(store, key, size)
