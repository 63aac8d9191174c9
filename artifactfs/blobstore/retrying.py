"""A store in a bucket that tries again: with back-off, and until a deadline.

Used by the repository. Threading: may be shared by threads.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeVar

from artifactfs.blobstore.remote import open_remote
from artifactfs.blobstore.uploads import UploadBatch
from artifactfs.clock import find_elapsed
from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.blobstore.remote import RemoteObjects

FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 8.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and until when. May be shared by threads.

    Attributes:
        attempts: how often a request is made at most.
        deadline_seconds: since the first attempt, after which no other one begins; it passes while the machine is
            suspended, too.
        sleep: waits.
        now: seconds of a clock that never goes back.
        random: returns a byte, so that many waiting writers do not come back at once.
    """

    attempts: int
    deadline_seconds: float
    random: Callable[[int], bytes]
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = find_elapsed

    def run(self, request: Callable[[], T]) -> T:
        """Return what `request` returns, made again while it fails in a way that may pass.

        Raises:
            ArtifactFSError: what the last attempt raised.
        """
        end = self.now() + self.deadline_seconds
        attempt = 1
        while True:
            try:
                return request()
            except ArtifactFSError as error:
                wait = self._find_wait(attempt)
                if not error.retryable or attempt >= self.attempts or self.now() + wait > end:
                    raise
            self.sleep(wait)
            attempt += 1

    def _find_wait(self, attempt: int) -> float:
        longest: float = min(FIRST_WAIT_SECONDS * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS)
        return longest * (0.5 + self.random(1)[0] / 510)


class RetryingStore:
    """A bucket, tried again where it fails. May be shared by threads.

    Attributes:
        keeps_checksums: True: services compare what they hold with checksums.
        doubtful_deletes: how many calls of `delete` were answered only when made again: an earlier one may arrive yet.
    """

    keeps_checksums: Final = True

    def __init__(
        self, store: RemoteObjects, policy: RetryPolicy, *, spool: str | None = None, connections: int = 16
    ) -> None:
        """Store the bucket; `spool` is a directory for what waits to be sent, `connections` how many send at once."""
        self._store = store
        self._policy = policy
        self._spool = spool
        self._connections = connections
        self.doubtful_deletes = 0

    def read(self, key: str) -> bytes:
        """Return a whole object.

        Raises:
            BlobMissingError: there is none under this key.
            RemoteError: retries ran out.
        """
        return self._policy.run(partial(self._store.read, key))

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield whole objects in the order of their keys; as many are under way as there may be connections."""
        wanted = list(keys)
        if len(wanted) < 2:
            yield from map(self.read, wanted)
            return
        with ThreadPoolExecutor(min(self._connections, len(wanted)), "read") as threads:
            try:
                yield from threads.map(self.read, wanted)
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Return exactly the bytes [offset, offset + size) of an object, which must have them."""
        return self._policy.run(partial(self._store.read_range, key, offset, size))

    def open(self, key: str) -> ObjectFile:
        """Return an object, open for reading; each read is a request."""
        return open_remote(self, key)

    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None when there is none."""
        return self._policy.run(partial(self._store.find_size, key))

    def find_time_ns(self, key: str) -> int | None:
        """Return when an object was created, by the service's clock; None when there is none, or nothing says it."""
        return self._policy.run(partial(self._store.find_time_ns, key))

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, in order. A listing that breaks goes on where it was."""
        return self.iter_keys_after(prefix, "")

    def iter_keys_after(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix` and are greater than the key `after`, in order."""
        return self._iter_on(self._store.iter_keys_after, prefix, after, find_key=str)

    def iter_sizes_after(self, prefix: str, after: str) -> Iterator[tuple[str, int]]:
        """Yield the same keys, each with the bytes in its object."""
        return self._iter_on(self._store.iter_sizes_after, prefix, after, find_key=itemgetter(0))

    def _iter_on(
        self, begin: Callable[[str, str], Iterator[T]], prefix: str, after: str, *, find_key: Callable[[T], str]
    ) -> Iterator[T]:
        """Yield what a listing gives; one that breaks is begun again behind the last key."""
        items = begin(prefix, after)

        def advance() -> T | None:
            nonlocal items
            try:
                return next(items, None)
            except ArtifactFSError:
                items = begin(prefix, after)
                raise

        while (item := self._policy.run(advance)) is not None:
            yield item
            after = find_key(item)

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Yield each name that directly follows `prefix` in some key."""
        yield from self._policy.run(lambda: list(self._store.iter_children(prefix)))

    def create(self, key: str, data: bytes) -> bool:
        """Create an object unless there is one, and return whether this call created it.

        When the answer to an earlier attempt was lost, "it exists" may be this call's own doing: equal bytes tell.

        Raises:
            RemoteError: retries ran out; it may have been created or not: read the key to know.
        """
        attempts = 0

        def attempt() -> bool:
            nonlocal attempts
            attempts += 1
            return self._store.create(key, data)

        created = self._policy.run(attempt)
        return created or (attempts > 1 and self.read(key) == data)

    def replace(self, key: str, data: bytes) -> None:
        """Store an object in place of what is there."""
        self._policy.run(partial(self._store.replace, key, data))

    def upload(self, key: str, source: BinaryIO, size: int) -> None:
        """Store all `size` bytes of a file in parts; the object appears when all are there and hash to its name."""
        self._policy.run(partial(self._store.upload, key, source, size))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""
        waiting, attempts = list(keys), 0

        def attempt() -> None:
            nonlocal attempts
            attempts += 1
            self._store.delete(waiting)

        self._policy.run(attempt)
        self.doubtful_deletes += attempts > 1

    def begin_batch(self) -> UploadBatch:
        """Return a new batch."""
        return UploadBatch(self, spool=self._spool, connections=self._connections)
