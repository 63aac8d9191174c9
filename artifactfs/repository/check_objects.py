"""Check of content: every page, sums and blob that versions reach, each looked at once, in several threads.

Used by check. Threading: an ObjectAudit belongs to one thread and has its own.

Source: docs/format.md sections 3, 4 and 7.
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self

from artifactfs.blobstore.hashing import split_sums
from artifactfs.blobstore.keys import BLOBS_PREFIX, SUMS_PREFIX, TREES_PREFIX, blob_key, digest_key, sums_key, tree_key
from artifactfs.digest import CHUNK_SIZE, Digest
from artifactfs.errors import ArtifactFSError, DigestMismatchError, MalformedError
from artifactfs.repository.reach import PREFIXES, Reach, find_object, walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.manifest import StoredPage
    from artifactfs.model import FileEntry, Placement, Root
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository

BLOCK_SIZE: Final = 256 << 10
"""Read and hashed at once: it fits into a core's cache."""
JOB_FILES: Final = 64
JOB_SIZE: Final = 16 << 20
WAITING_JOBS: Final = 64


class ObjectAudit:
    """Looks at what is reached. A context manager; belongs to one thread.

    Args:
        repository: where.
        report: is told of each damaged object: its key, and what is wrong. Called from several threads.
        share: which part of the blobs is read, from 0 to 1; of the others the size is compared.
        random: decides which.
        progress: is told of objects and bytes.

    Attributes:
        reach: what was reached.
        read_size: bytes that were read and hashed.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        report: Callable[[str, str], None],
        share: float,
        random: Callable[[int], bytes],
        progress: Progress,
    ) -> None:
        self._repository = repository
        self._report = report
        self._limit = int(share * (1 << 32))
        self._salt = random(16)
        self._progress = progress
        self.reach = Reach(repository.blobs)
        self.read_size = 0
        self._guard = threading.Lock()
        self._buffers = threading.local()
        self._job: list[tuple[bytes, int]] = []
        self._job_size = 0
        self._running: set[Future[None]] = set()
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "check")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add_root(self, root: Root) -> None:
        """Look at everything that is reached from a root and was not looked at before."""
        walk(root, self)

    def finish(self) -> None:
        """Wait until all was looked at."""
        self._submit()
        for job in list(self._running):
            job.result()

    def enter_page(self, tree: bytes, placement: Placement | None) -> StoredPage | None:
        """Return a page that is met for the first time and is not damaged."""
        if not self.reach.is_new_page(tree, placement):
            return None
        try:
            page = self._repository.blobs.read_tree(Digest(tree), placement)
        except ArtifactFSError as error:
            self._report(tree_key(tree), error.message)
            return None
        self._progress.advance(files=1)
        return page

    def take_file(self, entry: FileEntry, placement: Placement | None) -> None:
        """Look at a blob and its sums, if they are met for the first time."""
        del placement
        objects = self.reach.objects
        if entry.sums is not None and objects.add(SUMS_PREFIX, entry.sums):
            self._check_sums(entry.sums, entry.size)
        if objects.add(BLOBS_PREFIX, entry.sha256):
            self._take_blob(entry.sha256, entry.size)

    def look_at_rest(self) -> tuple[int, list[str]]:
        """Look at the objects that nothing reaches; return their number, and keys that are none of this format."""
        count, strays = 0, []
        for prefix in PREFIXES:
            for key in self._repository.store.iter_keys(prefix):
                found = find_object(key)
                if found is None:
                    strays.append(key)
                elif not self.reach.objects.has(*found):
                    count += 1
                    self._look_at(*found)
        self.finish()
        return count, strays

    def _look_at(self, prefix: str, digest: bytes) -> None:
        key = digest_key(prefix, digest)
        try:
            if prefix == TREES_PREFIX:
                self._repository.blobs.read_tree(Digest(digest))
            elif prefix == SUMS_PREFIX:
                self._check_sums(digest, None)
            elif prefix == BLOBS_PREFIX and (size := self._repository.store.find_size(key)) is not None:
                self._take_blob(digest, size)
        except ArtifactFSError as error:
            self._report(key, error.message)
        self._progress.advance(files=1)

    def _check_sums(self, sums: bytes, size: int | None) -> None:
        key = sums_key(sums)
        try:
            data = self._repository.store.read(key)
            split_sums(data, expected=sums, size=len(data) // 32 * CHUNK_SIZE if size is None else size)
        except ArtifactFSError as error:
            self._report(key, error.message)
        self._progress.advance(files=1)

    def _take_blob(self, sha256: bytes, size: int) -> None:
        self._job.append((sha256, size))
        self._job_size += size if self._is_chosen(sha256) else 0
        if len(self._job) >= JOB_FILES or self._job_size >= JOB_SIZE:
            self._submit()

    def _is_chosen(self, sha256: bytes) -> bool:
        if self._limit >= 1 << 32 or not self._limit:
            return bool(self._limit)
        return int.from_bytes(hashlib.sha256(self._salt + sha256).digest()[:4], "big") < self._limit

    def _submit(self) -> None:
        job, self._job, self._job_size = self._job, [], 0
        if not job:
            return
        if len(self._running) >= WAITING_JOBS:
            for done in [running for running in self._running if running.done()] or [next(iter(self._running))]:
                done.result()
                self._running.discard(done)
        self._running.add(self._pool.submit(self._check_blobs, job))

    def _check_blobs(self, job: list[tuple[bytes, int]]) -> None:
        for sha256, size in job:
            try:
                self._check_blob(sha256, size)
            except ArtifactFSError as error:
                self._report(blob_key(sha256), error.message)
        self._progress.advance(files=len(job))

    def _check_blob(self, sha256: bytes, size: int) -> None:
        store, key = self._repository.store, blob_key(sha256)
        if not self._is_chosen(sha256):
            found = store.find_size(key)
            if found is None:
                store.read(key)  # says why it is missing
            _check_size(key, found, size)
            return
        file = store.open(key)
        try:
            _check_size(key, file.size, size)
            digest = self._hash(file)
        except OSError as error:
            msg = f"{key} cannot be read: {error.strerror}"
            raise MalformedError(msg) from error
        finally:
            file.close()
        if digest != sha256:
            msg = f"{key} is damaged: its bytes hash to {Digest(digest)}"
            raise DigestMismatchError(msg)

    def _hash(self, file: ObjectFile) -> bytes:
        hasher = hashlib.sha256()
        offset = 0
        while data := file.read_at(offset, BLOCK_SIZE):
            hasher.update(data)
            offset += len(data)
            self._progress.advance(size=len(data))
        with self._guard:
            self.read_size += offset
        return hasher.digest()


def _check_size(key: str, found: int | None, size: int) -> None:
    if found != size:
        msg = f"{key} is damaged: it has {found} bytes instead of {size}"
        raise DigestMismatchError(msg)
