"""A store in memory: the ordinary store of tests, and the plainest statement of what a store does.

Threading: may be shared; one lock guards the dictionary.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Final, Self

from artifactfs.blobstore.base import Published
from artifactfs.errors import BlobMissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from artifactfs.blobstore.base import ObjectFile


class MemoryFile:
    """An object in memory, open for reading. Immutable."""

    __slots__ = ("_data", "_signature", "size")

    def __init__(self, data: bytes, signature: bytes) -> None:
        self._data = data
        self._signature = signature
        self.size = len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the object."""
        return self._data[offset : offset + size]

    def extent(self) -> tuple[int, int] | None:
        """Return None: there is no file."""
        return None

    def signature(self) -> bytes:
        """Return bytes that are different for each object ever stored."""
        return self._signature

    def close(self) -> None:
        """Do nothing."""


class MemoryStore:
    """A store in memory. May be shared by threads."""

    keeps_checksums: Final = False

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._signatures: dict[str, bytes] = {}
        self._numbers = itertools.count()
        self._guard = threading.Lock()

    def read(self, key: str) -> bytes:
        """Return a whole object.

        Raises:
            BlobMissingError: there is none under this key.
        """
        try:
            return self.objects[key]
        except KeyError:
            msg = f"the repository has no object {key}"
            raise BlobMissingError(msg, subject=key) from None

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield whole objects in the order of their keys."""
        return map(self.read, keys)

    def open(self, key: str) -> MemoryFile:
        """Return an object, open for reading.

        Raises:
            BlobMissingError: there is none under this key.
        """
        return MemoryFile(self.read(key), self.find_signature(key))

    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None when there is none."""
        data = self.objects.get(key)
        return None if data is None else len(data)

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`."""
        yield from [key for key in list(self.objects) if key.startswith(prefix)]

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Yield each name that directly follows `prefix` in some key."""
        yield from {key[len(prefix) :].partition("/")[0] for key in self.iter_keys(prefix)}

    def create(self, key: str, data: bytes) -> bool:
        """Create an object unless there is one, and return whether this call created it."""
        with self._guard:
            if key in self.objects:
                return False
            self.put(key, data)
            return True

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""
        for key in keys:
            self.objects.pop(key, None)

    def put(self, key: str, data: bytes) -> None:
        """Store an object in place of what is there: for tests that damage a store."""
        self.objects[key] = bytes(data)
        self._signatures[key] = b"memory.%d" % next(self._numbers)

    def find_signature(self, key: str) -> bytes:
        """Return the signature of an object; b"" when there is none."""
        return self._signatures.get(key, b"")

    def begin_batch(self) -> MemoryBatch:
        """Return a new batch."""
        return MemoryBatch(self)


class MemoryBatch:
    """Many objects at once. Threads may share it."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._pending: dict[str, bytes] = {}
        self._damaged: set[str] = set()
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard what was not flushed."""
        self._pending = {}

    def write(self, chunks: Iterable[bytes | memoryview]) -> object:
        """Return the bytes, which are the handle."""
        return b"".join(chunks)

    def clone(self, descriptor: int) -> tuple[object, ObjectFile] | None:
        """Return None: there are no blocks to share."""

    def name(self, handle: object, key: str) -> None:
        """Decide that this object appears under `key`."""
        assert isinstance(handle, bytes)
        with self._guard:
            self._pending.setdefault(key, handle)

    def reuse(self, key: str, size: int) -> bool:
        """Return whether an object of this size lies, or will lie, under `key`."""
        pending = self._pending.get(key)
        found = self._store.find_size(key) if pending is None else len(pending)
        return found == size

    def distrust(self, key: str) -> None:
        """Decide that what lies under `key` now is damaged: an object that gets this name replaces it."""
        self._damaged.add(key)

    def discard(self, handle: object) -> None:
        """Forget an object."""

    def flush(self) -> list[Published]:
        """Make everything named so far visible; return what appeared."""
        with self._guard:
            pending, self._pending = self._pending, {}
        for key, data in pending.items():
            is_damaged = key in self._damaged or self._store.find_size(key) not in (None, len(data))
            if not self._store.create(key, data) and is_damaged:
                self._store.put(key, data)
        return [Published(key, self._store.find_signature(key)) for key in pending]
