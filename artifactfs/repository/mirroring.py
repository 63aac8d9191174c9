"""Copying objects from store to store as they are, several at once, each verified by its name.

Used by clone. Threading: a Mirror belongs to one thread and has its own.
"""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Final, Self

from artifactfs.blobstore.keys import TREES_PREFIX, find_content_digest, find_digest
from artifactfs.digest import CHUNK_SIZE, Digest
from artifactfs.errors import BlobMissingError, DigestMismatchError, translate_os_error
from artifactfs.storedpage import decode_stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from artifactfs.blobstore.base import ObjectBatch, ObjectFile, Store
    from artifactfs.repository.progress import Progress

AT_ONCE: Final = 16
"""Requests at once, and objects that are looked for."""
OBJECTS_AT_ONCE: Final = 4
RANGES_AHEAD: Final = 4
FLUSH_SIZE: Final = 256 << 20
"""After so many bytes they are made durable, so that a killed copy has something to go on from."""


class Mirror:
    """Copies objects. A context manager; belongs to one thread.

    Attributes:
        objects: how many were copied.
        size: their bytes.
    """

    def __init__(self, source: Store, target: Store, progress: Progress) -> None:
        """Store where from, where to, and whom to tell."""
        self._source = source
        self._target = target
        self._progress = progress
        self._ranges = ThreadPoolExecutor(AT_ONCE, "range")
        self._workers = ThreadPoolExecutor(OBJECTS_AT_ONCE, "object")
        self._groups: list[list[tuple[str, int]]] = []
        self._present: list[str] = []
        self.objects = 0
        self.size = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin nothing more."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._ranges.shutdown(wait=True, cancel_futures=True)

    def plan(self, groups: Sequence[Sequence[str]]) -> None:
        """Find out which objects are missing. All of a group are durable before one of the next appears.

        Raises:
            BlobMissingError: the source does not have one.
        """
        self._groups, self._present = [], []
        for keys in groups:
            found = list(self._ranges.map(self._find_missing, keys))
            self._groups.append([item for item in found if item is not None])
            self._present += [key for key, item in zip(keys, found, strict=True) if item is None]
        missing = [size for group in self._groups for _, size in group]
        self._progress.begin(files=len(missing), size=sum(missing))

    def copy(self) -> None:
        """Copy what is missing.

        Raises:
            DigestMismatchError, MalformedError: what the source has is damaged; it is not copied.
            StorageFullError, RemoteError: it could not be stored.
        """
        self._make_durable()
        for group in self._groups:
            with self._target.begin_batch() as batch:
                self._copy_group(batch, group)
                batch.flush()

    def _make_durable(self) -> None:
        """Make the names durable of what is there already: whoever stored it may have been killed before that."""
        sync_names = getattr(self._target, "sync_names", None)
        if sync_names is None or not self._present:
            return
        try:
            sync_names(self._present)
        except OSError as error:
            raise translate_os_error(error, doing="making what is there already durable") from error

    def _copy_group(self, batch: ObjectBatch, group: list[tuple[str, int]]) -> None:
        waiting = 0
        running = [self._workers.submit(self._copy_one, batch, key, size) for key, size in group]
        try:
            for done in as_completed(running):
                size = done.result()
                self.objects, self.size, waiting = self.objects + 1, self.size + size, waiting + size
                self._progress.advance(files=1)
                if waiting >= FLUSH_SIZE:
                    batch.flush()
                    waiting = 0
        finally:
            for future in running:
                future.cancel()

    def _find_missing(self, key: str) -> tuple[str, int] | None:
        size = self._source.find_size(key)
        if size is None:
            msg = f"the repository has no object {key}"
            raise BlobMissingError(msg, hint="`artifactfs check` says what is missing", subject=key)
        return None if self._target.find_size(key) == size else (key, size)

    def _copy_one(self, batch: ObjectBatch, key: str, size: int) -> int:
        file = self._source.open(key)
        hasher = hashlib.sha256()
        whole: list[bytes] = []

        def iter_bytes() -> Iterator[bytes]:
            for data in self._iter_ranges(file, size):
                hasher.update(data)
                if key.startswith(TREES_PREFIX):
                    whole.append(data)
                self._progress.advance(size=len(data))
                yield data

        try:
            handle = batch.write(iter_bytes())
        finally:
            file.close()
        try:
            _check(key, hasher.digest(), b"".join(whole))
        except BaseException:
            batch.discard(handle)
            raise
        batch.name(handle, key)
        return size

    def _iter_ranges(self, file: ObjectFile, size: int) -> Iterator[bytes]:
        if file.extent() is not None or size <= CHUNK_SIZE:
            yield from (file.read_at(start, CHUNK_SIZE) for start in range(0, size, CHUNK_SIZE))
            return
        running: deque[Future[bytes]] = deque()
        for start in range(0, size, CHUNK_SIZE):
            running.append(self._ranges.submit(file.read_at, start, CHUNK_SIZE))
            if len(running) > RANGES_AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _check(key: str, sha256: bytes, whole: bytes) -> None:
    tree = find_digest(key, TREES_PREFIX)
    if tree is not None:
        decode_stored(whole, expected=Digest(tree))
    elif find_content_digest(key) != sha256:
        msg = f"{key} is damaged: its bytes hash to {Digest(sha256)}; it was not copied"
        raise DigestMismatchError(msg, hint="run `artifactfs check` on the repository that it came from", subject=key)
