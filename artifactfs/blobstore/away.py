"""A bucket that is not asked: for processes that must never wait for a network.

What they want and is not on this machine is `Away`, and another process gets it.

Used by the workers of mounts. Threading: may be shared by threads and by forked processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from artifactfs.blobstore.cachingstore import CachingStore
from artifactfs.blobstore.retrying import RetryPolicy
from artifactfs.digest import CHUNK_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from artifactfs.blobstore.base import ObjectBatch, ObjectFile
    from artifactfs.blobstore.diskcache import DiskCache


class Away(Exception):  # noqa: N818 (a way to whoever may wait, and no failure: nothing that handles failures sees it)
    """What was asked for is not on this machine."""


class AwayBucket:
    """A bucket of which this process has a few objects. May be shared by threads.

    Attributes:
        keeps_checksums: True.
    """

    keeps_checksums: Final = True

    def __init__(self, known: Mapping[str, bytes]) -> None:
        """Store the objects that are known, by key; of their prefixes, all are."""
        self._known = known

    def read(self, key: str) -> bytes:
        """Return a known object.

        Raises:
            Away: it is not known.
        """
        return self._known[key] if key in self._known else _away(key)

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys below a prefix of which all are known."""
        return self.iter_keys_after(prefix, "")

    def iter_keys_after(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the keys below a prefix of which all are known, and which are greater than `after`."""
        found = sorted(key for key in self._known if key.startswith(prefix))
        return iter([key for key in found if key > after]) if found and prefix else _away(prefix)

    def iter_sizes_after(self, prefix: str, after: str) -> Iterator[tuple[str, int]]:
        """Raise `Away`."""
        del after
        _away(prefix)

    def find_time_ns(self, key: str) -> int | None:
        """Raise `Away`."""
        _away(key)

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Raise `Away`."""
        _away(prefix)

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield known objects."""
        return map(self.read, keys)

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Raise `Away`."""
        del offset, size
        _away(key)

    def find_size(self, key: str) -> int | None:
        """Raise `Away`."""
        _away(key)

    def open(self, key: str) -> ObjectFile:
        """Raise `Away`."""
        _away(key)

    def create(self, key: str, data: bytes) -> bool:
        """Raise `Away`."""
        del data
        _away(key)

    def replace(self, key: str, data: bytes) -> None:
        """Raise `Away`."""
        del data
        _away(key)

    def upload(self, key: str, source: BinaryIO, size: int) -> None:
        """Raise `Away`."""
        del source, size
        _away(key)

    def delete(self, keys: Iterable[str]) -> None:
        """Raise `Away`."""
        _away(", ".join(keys))

    def begin_batch(self) -> ObjectBatch:
        """Raise `Away`."""
        _away("a new object")


class KeptStore(CachingStore):
    """A bucket of which only what is kept on this machine is read. May be shared by threads."""

    def __init__(self, known: Mapping[str, bytes], *, cache: DiskCache) -> None:
        """Store the objects that are known, and the cache."""
        super().__init__(AwayBucket(known), RetryPolicy(1, 0.0, bytes), cache=cache)

    def want_range(self, key: str, offset: int, size: int) -> None:
        """Do nothing: this process fetches nothing."""

    def note_range(self, key: str, offset: int) -> None:
        """Do nothing: this process fetches nothing."""

    def _note_kept(self, key: str, number: int) -> None:
        """Do nothing: this process fetches nothing."""

    def _read_chunk(self, key: str, number: int, first: int, last: int) -> bytes:
        found = self.cache.read(key, number, first, last - first)
        if found is None or len(found) != last - first:
            found = self._find_lone(key, number * CHUNK_SIZE + first, last - first)
        return found if found is not None else _away(key)


def _away(key: str) -> NoReturn:
    raise Away(key)
