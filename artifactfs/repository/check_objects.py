"""Check of content: every page, sums, blob and pack that versions reach, each looked at once, in several threads.

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
from artifactfs.blobstore.keys import (
    BLOBS_PREFIX,
    PACKS_PREFIX,
    SUMS_PREFIX,
    TREEPACKS_PREFIX,
    TREES_PREFIX,
    digest_key,
    pack_key,
    sums_key,
    tree_key,
    treepack_key,
)
from artifactfs.digest import CHUNK_SIZE, Digest
from artifactfs.errors import ArtifactFSError, BlobMissingError, DigestMismatchError, MalformedError
from artifactfs.model import ReferenceEntry
from artifactfs.repository.reach import PREFIXES, Reach, find_object, iter_files, walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.model import Placement, Root
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository
    from artifactfs.storedpage import StoredPage

BLOCK_SIZE: Final = 1 << 20
"""Read and hashed at once: it fits into a core's cache."""
JOB_FILES: Final = 64
JOB_SIZE: Final = 16 << 20
WAITING_JOBS: Final = 64
TYPICAL_PACK: Final = 16 << 20


class ObjectAudit:
    """Looks at what is reached. A context manager; belongs to one thread.

    Args:
        repository: where.
        report: is told of each damaged object: its key, and what is wrong. Called from several threads.
        share: which part of the blobs and packs is read, from 0 to 1; of the others the size is compared.
        random: decides which.
        progress: is told of objects and bytes.

    Attributes:
        reach: what was reached.
        read_size: bytes that were read and hashed.
        has_references: whether a page has some.
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
        self.reach = Reach(repository.blobs.in_place)
        self.read_size = 0
        self.has_references = False
        self._guard = threading.Lock()
        self._reader = repository.blobs.in_place
        self._ends: dict[bytes, int] = {}
        self._job: list[tuple[str, bytes, int | None, bool]] = []
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
        if placement is not None and not self.reach.objects.has(TREEPACKS_PREFIX, placement.pack):
            self._take(TREEPACKS_PREFIX, placement.pack, None)
        if not self.reach.is_new_page(tree, placement):
            return None
        page = self._read_page(tree, placement)
        if page is None:
            return None
        self._progress.advance(files=1 if placement is None else 0)
        return page

    def _read_page(self, tree: bytes, placement: Placement | None) -> StoredPage | None:
        """Return a page; a damaged one from where else readers find it, since what is below is reached by it."""
        try:
            return self._reader.read_tree(Digest(tree), placement)
        except ArtifactFSError as error:
            self._report(tree_key(tree) if placement is None else treepack_key(placement.pack), error.message)
        try:
            return self._repository.blobs.read_tree(Digest(tree), placement)
        except ArtifactFSError:
            return None

    def take_files(self, stored: StoredPage) -> None:
        """Look at blobs or their packs, and their sums, if they are met for the first time."""
        objects, ends = self.reach.objects, self._ends
        self.has_references = self.has_references or ReferenceEntry in set(map(type, stored.page.items))
        for entry, placement in iter_files(stored):
            if entry.sums is not None and objects.add(SUMS_PREFIX, entry.sums):
                self._check_sums(entry.sums, entry.size)
            if placement is None:
                if objects.add(BLOBS_PREFIX, entry.sha256):
                    self._take(BLOBS_PREFIX, entry.sha256, entry.size)
                continue
            pack, end = placement.pack, placement.offset + placement.size
            known = ends.get(pack)
            if known is None and objects.add(PACKS_PREFIX, pack):
                self._take(PACKS_PREFIX, pack, None)
            if known is None or end > known:
                ends[pack] = end

    def check_ends(self) -> None:
        """Report packs that are shorter than what should lie in them."""
        for pack, end in self._ends.items():
            size = self._repository.store.find_size(pack_key(pack))
            if size is not None and size < end:
                what = f"{pack_key(pack)} is damaged: it has {size} bytes instead of {end} or more"
                self._report(pack_key(pack), what)

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
        if prefix == TREES_PREFIX:
            try:
                self._reader.read_tree(Digest(digest))
            except ArtifactFSError as error:
                self._report(tree_key(digest), error.message)
            self._progress.advance(files=1)
        elif prefix == SUMS_PREFIX:
            self._check_sums(digest, None)
        else:
            self._take(prefix, digest, None)

    def _check_sums(self, sums: bytes, size: int | None) -> None:
        key = sums_key(sums)
        try:
            data = self._repository.store.read(key)
            split_sums(data, expected=sums, size=len(data) // 32 * CHUNK_SIZE if size is None else size)
        except ArtifactFSError as error:
            self._report(key, error.message)
        self._progress.advance(files=1)

    def _take(self, prefix: str, digest: bytes, size: int | None) -> None:
        """Take an object that is named by the digest of its bytes; its size is None where nothing says it."""
        is_read = prefix == TREEPACKS_PREFIX or self._is_chosen(digest)
        self._job.append((prefix, digest, size, is_read))
        self._job_size += (TYPICAL_PACK if size is None else size) if is_read else 0
        if len(self._job) >= JOB_FILES or self._job_size >= JOB_SIZE:
            self._submit()

    def _is_chosen(self, digest: bytes) -> bool:
        if self._limit >= 1 << 32 or not self._limit:
            return bool(self._limit)
        return int.from_bytes(hashlib.sha256(self._salt + digest).digest()[:4], "big") < self._limit

    def _submit(self) -> None:
        job, self._job, self._job_size = self._job, [], 0
        if not job:
            return
        if len(self._running) >= WAITING_JOBS:
            for done in [running for running in self._running if running.done()] or [next(iter(self._running))]:
                done.result()
                self._running.discard(done)
        self._running.add(self._pool.submit(self._check_job, job))

    def _check_job(self, job: list[tuple[str, bytes, int | None, bool]]) -> None:
        for prefix, digest, size, is_read in job:
            key = digest_key(prefix, digest)
            try:
                self._check_object(key, digest, size, is_read=is_read)
            except BlobMissingError as error:
                if size is not None or self.reach.objects.has(prefix, digest):
                    self._report(key, error.message)  # else a prune was faster
            except ArtifactFSError as error:
                self._report(key, error.message)
        self._progress.advance(files=len(job))

    def _check_object(self, key: str, digest: bytes, size: int | None, *, is_read: bool) -> None:
        store = self._repository.store
        if not is_read:
            found = store.find_size(key)
            if found is None:
                store.read(key)  # says why it is missing
            _check_size(key, found, size)
            return
        file = store.open(key)
        try:
            _check_size(key, file.size, size)
            hashed = self._hash(file)
        except OSError as error:
            msg = f"{key} cannot be read: {error.strerror}"
            raise MalformedError(msg) from error
        finally:
            file.close()
        if hashed != digest:
            msg = f"{key} is damaged: its bytes hash to {Digest(hashed)}"
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


def _check_size(key: str, found: int | None, size: int | None) -> None:
    if size not in (None, found):
        msg = f"{key} is damaged: it has {found} bytes instead of {size}"
        raise DigestMismatchError(msg)
