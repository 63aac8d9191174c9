"""A store that fails as stores do: now and then, half, or after it has done what it was asked.

    FaultyStore(store, fail={3: LOSE_ANSWER})      # the third call of `create` is carried out, and its answer lost

Threading: belongs to one thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artifactfs.errors import RemoteUnavailableError, StorageFullError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from artifactfs.blobstore.base import ObjectBatch, ObjectFile, Store

LOSE_ANSWER: Final = "lose-answer"
"""Done, and reported as failed."""
REFUSE: Final = "refuse"
"""Not done, and reported as failed; another try may work."""
FULL: Final = "full"
"""Not done: there is no room."""


class FaultyStore:
    """A store in which chosen calls of `create` fail. Belongs to one thread.

    Attributes:
        creates: calls of `create` so far.
        truncate: keys of which only this many bytes are read.
        flip: keys of which the byte at this offset is read wrong.
    """

    def __init__(self, store: Store, *, fail: Mapping[int, str] | None = None) -> None:
        self._store = store
        self._fail = dict(fail or {})
        self.creates = 0
        self.truncate: dict[str, int] = {}
        self.flip: dict[str, int] = {}

    @property
    def keeps_checksums(self) -> bool:
        """As the store below."""
        return self._store.keeps_checksums

    def read(self, key: str) -> bytes:
        """Return an object, damaged as chosen."""
        data = self._store.read(key)
        if key in self.truncate:
            data = data[: self.truncate[key]]
        if key in self.flip:
            at = self.flip[key] % len(data)
            data = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        return data

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield whole objects in the order of their keys."""
        return map(self.read, keys)

    def open(self, key: str) -> ObjectFile:
        """Return an object, open for reading."""
        return self._store.open(key)

    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None."""
        return self._store.find_size(key)

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`."""
        return self._store.iter_keys(prefix)

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Yield each name that directly follows `prefix`."""
        return self._store.iter_children(prefix)

    def create(self, key: str, data: bytes) -> bool:
        """Create an object, or fail as chosen."""
        self.creates += 1
        fault = self._fail.get(self.creates)
        if fault == REFUSE:
            msg = "the store did not answer"
            raise RemoteUnavailableError(msg)
        if fault == FULL:
            msg = "the store is full"
            raise StorageFullError(msg)
        created = self._store.create(key, data)
        if fault == LOSE_ANSWER:
            msg = "the answer of the store was lost"
            raise RemoteUnavailableError(msg)
        return created

    def delete(self, keys: Iterable[str]) -> None:
        """Delete from the store below."""
        self._store.delete(keys)

    def begin_batch(self) -> ObjectBatch:
        """Return a batch of the store below."""
        return self._store.begin_batch()
