"""Bringing what a version needs into the cache of this machine, before it is read.

What is needed is planned as chunks, so a pack is asked for by few large requests, whatever number of its files is
wanted. What is there already is not asked for again; so a fetch that was interrupted goes on where it was.

Used by the command line and the SDK. Threading: functions over a Repository.

Source: docs/design/cache.md.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.cachingstore import CachingStore
from artifactfs.blobstore.keys import blob_key, pack_key, sums_key, tree_key, treepack_key
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import AccessDeniedError, EntryNotFoundError, InvalidPathError, StorageFullError
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry
from artifactfs.repository.ignore import parse_patterns
from artifactfs.repository.progress import NoProgress
from artifactfs.repository.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from artifactfs.blobstore.diskcache import DiskCache
    from artifactfs.digest import Digest
    from artifactfs.model import Entry, Placement, Root
    from artifactfs.repository.ignore import Patterns
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository
    from artifactfs.storedpage import StoredPage

AT_ONCE: Final = 16
Chunk = tuple[str, int]
"""Key of an object, and the number of a chunk of it."""


@dataclass(frozen=True, slots=True)
class ReferenceChunk:
    """A chunk of what a reference names.

    Attributes:
        entry: the reference.
        number: of the chunk.
        name: that it has in the cache.
    """

    entry: ReferenceEntry
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be here.

    Attributes:
        chunks: all chunks of content and of the directories that lead to it, in order.
        files: how many files they are needed for.
        size: bytes of these, and of references.
        references: how many references are among what was chosen.
        referenced: all chunks of those that are followed and kept here.
        refused: how many references are not followed here.
    """

    chunks: tuple[Chunk, ...]
    files: int
    size: int
    references: int
    referenced: tuple[ReferenceChunk, ...] = ()
    refused: int = 0

    @property
    def names(self) -> list[str]:
        """The chunks by the names that they have in the cache."""
        return [*(f"{key}.{number}" for key, number in self.chunks), *(chunk.name for chunk in self.referenced)]


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What a fetch did.

    Attributes:
        plan: what was to be here, and is.
        fetched: chunks that were fetched.
        size: their bytes.
    """

    plan: Plan
    fetched: int
    size: int


def plan_fetch(repository: Repository, root: Root, *, path: bytes = b"", glob: Sequence[str | bytes] = ()) -> Plan:
    """Return what must be on this machine to read a version, or a part of it, without a network.

    Args:
        repository: where it is.
        root: the version's root.
        path: an entry path; b"" is the whole version.
        glob: patterns as in gitignore(5), relative to `path`: only what they choose.

    Raises:
        EntryNotFoundError: there is no `path`, or nothing that `glob` chooses.
        UsageError: a pattern that cannot be understood.
        IntegrityError, RemoteError: a directory cannot be read.
    """
    patterns = parse_patterns(item.encode() if isinstance(item, str) else item for item in glob)
    planner = _Planner(repository)
    planner.add(root, path, patterns)
    if patterns and not planner.files and not planner.references:
        msg = "nothing in this version matches the pattern"
        raise EntryNotFoundError(msg, hint="`*.png` matches at any depth, `images/*` in one directory")
    return planner.make_plan(tuple(sorted(planner.chunks)))


def plan_replay(repository: Repository, root: Root, paths: Iterable[bytes]) -> tuple[Plan, int]:
    """Return what must be here to read some files of a version in a certain order, in that order.

    Args:
        repository: where it is.
        root: the version's root.
        paths: entry paths, in the order in which they will be read.

    Returns:
        What is needed, and how many of the paths are not in this version, or are no files.

    Raises:
        IntegrityError, RemoteError: a directory cannot be read.
    """
    planner = _Planner(repository)
    trees = Trees(planner)
    missing = 0
    for path in dict.fromkeys(paths):
        try:
            entry, place = trees.find_placed(root, path)
        except (EntryNotFoundError, InvalidPathError):
            missing += 1
            continue
        if isinstance(entry, FileEntry | ReferenceEntry):
            planner.add_entry(entry, place)
        else:
            missing += 1
    return planner.make_plan(tuple(planner.chunks)), missing


def fetch(repository: Repository, plan: Plan, *, progress: Progress | None = None) -> FetchResult:
    """Bring everything of a plan into the cache. In a local repository that is what references name.

    Raises:
        StorageFullError: the cache cannot hold all of it; what was fetched is kept as far as there is room.
        RemoteError, BlobMissingError: some could not be fetched; the same call goes on.
    """
    jobs, cache = _find_jobs(repository, plan)
    if not jobs or cache is None:
        return FetchResult(plan, 0, 0)
    _check_room(cache, plan.names)
    progress = progress or NoProgress()
    progress.begin(files=len(jobs), size=0)
    fetched = size = 0
    pool = ThreadPoolExecutor(AT_ONCE, "fetch")
    try:
        for done in as_completed(list(map(pool.submit, jobs))):
            count = done.result()
            fetched, size = fetched + bool(count), size + count
            progress.advance(files=1, size=count)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    gone = _count_gone(repository, plan)
    if gone:
        msg = f"{gone} of {len(jobs)} chunks that were fetched had to make room for others"
        raise StorageFullError(msg, hint="raise cache_size, or `artifactfs cache keep` it", subject=cache.directory)
    return FetchResult(plan, fetched, size)


def _find_jobs(repository: Repository, plan: Plan) -> tuple[list[Callable[[], int]], DiskCache | None]:
    """Return what fetches each chunk, and the cache that it goes to."""
    jobs: list[Callable[[], int]] = []
    store, cache = repository.store, None
    if isinstance(store, CachingStore):
        jobs, cache = [partial(store.fetch, *chunk) for chunk in plan.chunks], store.cache
    if plan.referenced:
        references = repository.references
        cache = cache or references.cache
        jobs += [partial(references.fetch_chunk, chunk.entry, chunk.number) for chunk in plan.referenced]
    return jobs, cache


def _count_gone(repository: Repository, plan: Plan) -> int:
    store, gone = repository.store, 0
    if isinstance(store, CachingStore):
        gone = sum(not store.cache.has(*chunk) for chunk in plan.chunks)
    return gone + sum(not repository.references.has_chunk(chunk.entry, chunk.number) for chunk in plan.referenced)


def keep(repository: Repository, name: str, plan: Plan) -> None:
    """Say that what a plan names is not deleted to make room for other data, whether it is there yet or not.

    Args:
        repository: where it is; in a local one there is nothing to keep.
        name: what it is, for `artifactfs cache info` and `release`.
        plan: what is kept.

    Raises:
        StorageFullError: the cache cannot hold it beside what is kept already.
        ArtifactFSError: it cannot be noted.
    """
    _, cache = _find_jobs(repository, plan)
    if cache is None:
        return
    keeps = cache.quota.keeps
    _check_room(cache, keeps.find_names().union(plan.names))
    keeps.add(repository.location, name, plan.names)


def _check_room(cache: DiskCache, names: Collection[str]) -> None:
    """Refuse what cannot fit: all chunks but the last of an object are whole."""
    whole = len(names) - len({name.rpartition(".")[0] for name in names})
    size = cache.quota.limits.size
    if whole * CHUNK_SIZE > size:
        msg = f"more than {whole * CHUNK_SIZE} bytes are needed, and the cache keeps {size}"
        raise StorageFullError(msg, hint="raise cache_size, or choose less by --path", subject=cache.directory)


class _Planner:
    """Collects chunks, in order of their first need. Belongs to one thread."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._blobs = repository.blobs
        self.referenced: dict[str, ReferenceChunk] = {}
        self.refused = 0
        self.chunks: dict[Chunk, None] = {}
        self.files = 0
        self.size = 0
        self.references = 0

    def make_plan(self, chunks: tuple[Chunk, ...]) -> Plan:
        """Return the plan that has these chunks, and all else that was added."""
        referenced = tuple(self.referenced.values())
        return Plan(chunks, self.files, self.size, self.references, referenced, self.refused)

    def read_tree(self, digest: Digest, placement: Placement | None = None) -> StoredPage:
        """Return a stored page, and add where it lies."""
        if placement is None:
            self.chunks[tree_key(digest.raw), 0] = None
        else:
            self._add_range(treepack_key(placement.pack), placement.offset, placement.size)
        return self._blobs.read_tree(digest, placement)

    def add(self, root: Root, path: bytes, patterns: Patterns) -> None:
        """Add what is chosen below a path, and all pages that lead there."""
        trees = Trees(self)
        entry, place = trees.find_placed(root, path)
        if not isinstance(entry, DirectoryEntry):
            self.add_entry(entry, place)
            return
        for below, found, where in trees.iter_placed(entry, b"", place):
            if not isinstance(found, DirectoryEntry) and (not patterns or patterns.chooses_below(below)):
                self.add_entry(found, where)

    def add_entry(self, entry: Entry, place: Placement | None) -> None:
        """Add what a file needs."""
        if isinstance(entry, ReferenceEntry):
            self._add_reference(entry)
        if not isinstance(entry, FileEntry):
            return
        self.files, self.size = self.files + 1, self.size + entry.size
        if place is not None:
            self._add_range(pack_key(place.pack), place.offset, entry.size)
        else:
            self._add_range(blob_key(entry.sha256), 0, entry.size)
        if entry.sums is not None:
            self.chunks[sums_key(entry.sums), 0] = None

    def _add_reference(self, entry: ReferenceEntry) -> None:
        self.references, self.size = self.references + 1, self.size + entry.size
        references = self._repository.references
        try:
            references.policy.check(entry.uri)
        except AccessDeniedError:
            self.refused += 1
            return
        for number in range(-(-entry.size // CHUNK_SIZE) if references.keeps(entry) else 0):
            name = references.name_chunk(entry, number)
            self.referenced[name] = ReferenceChunk(entry, number, name)

    def _add_range(self, key: str, offset: int, size: int) -> None:
        numbers = range(offset // CHUNK_SIZE, -(-(offset + size) // CHUNK_SIZE))
        self.chunks.update(((key, number), None) for number in numbers)
