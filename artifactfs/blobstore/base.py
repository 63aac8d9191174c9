"""The interfaces of a store: objects that never change, under keys.

A key is ASCII names joined by `/`, such as `blobs/ab/<64 hex>`; `keys.py` makes them. An object is created
whole and never changed, so a reader sees all of it or nothing.

Used by the repository and by the wrappers of this folder. Threading: a store may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType


class ObjectFile(Protocol):
    """One object, open for reading. May be read by several threads at once; `close` by one."""

    @property
    def size(self) -> int:
        """Bytes in the object."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the object."""

    def extent(self) -> tuple[int, int] | None:
        """Return descriptor and offset of a local file where exactly these bytes lie, or None when there is none."""

    def signature(self) -> bytes:
        """Return bytes that change whenever the stored object was replaced or written to; b"" when unknown."""

    def close(self) -> None:
        """Release the object; a second call does nothing."""


class ObjectReader(Protocol):
    """Reads objects."""

    def read(self, key: str) -> bytes:
        """Return a whole object.

        Raises:
            BlobMissingError: there is none under this key.
        """

    def open(self, key: str) -> ObjectFile:
        """Return an object, open for reading; the caller closes it.

        Raises:
            BlobMissingError: there is none under this key.
        """

    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None when there is none under this key."""


class ObjectsReader(Protocol):
    """Reads many objects."""

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield whole objects in the order of their keys, read at once as far as that helps.

        Raises:
            BlobMissingError: there is none under one of the keys.
        """


class ObjectLister(Protocol):
    """Finds out which objects there are."""

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix` (which ends in `/`, or is empty), in any order."""

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Yield each name that directly follows `prefix` in some key, once, in any order.

        `iter_children("collections/")` yields the names of collections without visiting their records.
        """


class ObjectCreator(Protocol):
    """Creates single objects."""

    def create(self, key: str, data: bytes) -> bool:
        """Create an object unless there is one, durably, and return whether this call created it.

        When it returns, true or false, what lies under the key survives a loss of power.

        Raises:
            StorageFullError: there is no room; nothing was created.
            ArtifactFSError: it may have been created or not: read the key to know.
        """


class ObjectDeleter(Protocol):
    """Deletes objects: for prune alone."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, durably; one that is not there is no error.

        Raises:
            ArtifactFSError: any of them may be gone or not.
        """


class ObjectStore(ObjectReader, ObjectsReader, ObjectLister, ObjectCreator, ObjectDeleter, Protocol):
    """A place that holds objects."""


class Published(NamedTuple):
    """An object that a batch made visible: its key, and the signature it has there."""

    key: str
    signature: bytes


class ObjectBatch(Protocol):
    """Many objects at once, for the price of a few synchronisations.

    A context manager: leaving it discards what was not flushed. Threads may share one.
    """

    def write(self, chunks: Iterable[bytes | memoryview]) -> object:
        """Write the bytes of an object that has no name yet, and return a handle for it.

        Raises:
            StorageFullError: there is no room; nothing is left of it.
        """

    def clone(self, descriptor: int) -> tuple[object, ObjectFile] | None:
        """Write an object that has no name yet, by sharing the blocks of a whole open file.

        Returns:
            A handle for it, and the object itself, open for reading: what it holds is not yet known to be what the
            file has now. None where the place cannot do that.

        Raises:
            StorageFullError: there is no room; nothing is left of it.
        """

    def name(self, handle: object, key: str) -> None:
        """Decide that this object appears under `key`, at the latest when the batch is flushed.

        An object that already lies there with the same size stays; one of another size is damage and is
        replaced.
        """

    def reuse(self, key: str, size: int) -> bool:
        """Return whether an object of this size lies under `key`; if so, flush makes that durable too."""

    def distrust(self, key: str) -> None:
        """Decide that what lies under `key` now is damaged: an object that gets this name replaces it."""

    def discard(self, handle: object) -> None:
        """Forget an object that was written and not named."""

    def flush(self) -> list[Published]:
        """Make everything named so far visible and durable; return what appeared since the last call.

        Bytes are durable before names appear, and names are durable when it returns.

        Raises:
            StorageFullError: there is no room; each object is visible as a whole or not at all.
        """

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard what was not flushed."""


class BatchStore(Protocol):
    """Takes many objects at once."""

    def begin_batch(self) -> ObjectBatch:
        """Return a new batch."""


class Store(ObjectStore, BatchStore, Protocol):
    """All that a repository needs of the place where it lies."""

    @property
    def keeps_checksums(self) -> bool:
        """Whether the place compares what it holds with checksums of its own.

        Then an object of the right name and size is not read again when the same bytes are stored again.
        """
