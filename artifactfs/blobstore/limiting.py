"""A bucket of which only so much is asked at once: requests, and bytes in a second.

Used by the repository. Threading: may be shared by threads, which then wait for each other.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar, cast

from artifactfs.blobstore.remote import open_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.blobstore.remote import RemoteObjects

T = TypeVar("T")


class Gate:
    """Lets so many requests through at once, and so many bytes in a second. May be shared by threads.

    Args:
        connections: requests at once.
        bandwidth: bytes in a second, in both directions together; 0 sets no limit.
        now: seconds of a clock that never goes back.
        sleep: waits.
    """

    def __init__(
        self,
        connections: int,
        bandwidth: int = 0,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._slots = threading.BoundedSemaphore(connections)
        self._bandwidth = bandwidth
        self._now = now
        self._sleep = sleep
        self._guard = threading.Lock()
        self._free_at = 0.0

    def run(self, request: Callable[[], T], *, size: int = 0) -> T:
        """Return what `request` returns, which moves `size` bytes, when it is its turn."""
        with self._slots:
            self.pace(size)
            return request()

    def pace(self, size: int) -> None:
        """Wait until `size` bytes may be moved."""
        if not self._bandwidth or not size:
            return
        with self._guard:
            begin = max(self._now(), self._free_at)
            self._free_at = begin + size / self._bandwidth
        wait = begin - self._now()
        if wait > 0:
            self._sleep(wait)


class LimitingStore:
    """A bucket behind a gate. May be shared by threads.

    Attributes:
        keeps_checksums: True: services compare what they hold with checksums.
    """

    keeps_checksums: Final = True

    def __init__(self, store: RemoteObjects, gate: Gate) -> None:
        self._store = store
        self._gate = gate

    def read(self, key: str) -> bytes:
        """Return a whole object; its bytes are counted when they are there."""
        data = self._gate.run(lambda: self._store.read(key))
        self._gate.pace(len(data))
        return data

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield whole objects in the order of their keys."""
        return map(self.read, keys)

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Return exactly the bytes [offset, offset + size) of an object; see `RangeReader`."""
        return self._gate.run(lambda: self._store.read_range(key, offset, size), size=size)

    def open(self, key: str) -> ObjectFile:
        """Return an object, open for reading; each read is a request."""
        return open_remote(self, key)

    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None when there is none."""
        return self._gate.run(lambda: self._store.find_size(key))

    def find_time_ns(self, key: str) -> int | None:
        """Return when an object was created, by the service's clock; None when there is none, or nothing says it."""
        return self._gate.run(lambda: self._store.find_time_ns(key))

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, in order."""
        return self._iter_gated(self._store.iter_keys(prefix))

    def iter_keys_after(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix` and are greater than the key `after`, in order."""
        return self._iter_gated(self._store.iter_keys_after(prefix, after))

    def iter_sizes_after(self, prefix: str, after: str) -> Iterator[tuple[str, int]]:
        """Yield the same keys, each with the bytes in its object."""
        return self._iter_gated(self._store.iter_sizes_after(prefix, after))

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Yield each name that directly follows `prefix` in some key."""
        return self._iter_gated(self._store.iter_children(prefix))

    def _iter_gated(self, items: Iterator[T]) -> Iterator[T]:
        """Yield items, each asked for in its turn: any of them may need the next page."""
        while (item := self._gate.run(lambda: next(items, None))) is not None:
            yield item

    def create(self, key: str, data: bytes) -> bool:
        """Create an object unless there is one, and return whether this call created it."""
        return self._gate.run(lambda: self._store.create(key, data), size=len(data))

    def replace(self, key: str, data: bytes) -> None:
        """Store an object in place of what is there."""
        self._gate.run(lambda: self._store.replace(key, data), size=len(data))

    def upload(self, key: str, source: BinaryIO, size: int) -> None:
        """Store all `size` bytes of a file in parts; see `Uploader`."""
        paced = cast("BinaryIO", _Paced(source, self._gate))
        self._gate.run(lambda: self._store.upload(key, paced, size))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""
        self._gate.run(lambda: self._store.delete(keys))


class _Paced:
    """A file that is read at the pace of a gate. Belongs to one thread."""

    def __init__(self, source: BinaryIO, gate: Gate) -> None:
        self._source = source
        self._gate = gate

    def seek(self, offset: int) -> int:
        return self._source.seek(offset)

    def read(self, size: int) -> bytes:
        self._gate.pace(size)
        return self._source.read(size)
