"""Writing stored directories, files and links into a destination, with a few threads and processes.

Directories get their permission bits and times last, the deepest first, so that read-only ones can be filled and
filling does not change their time.

Used by checkout. Threading: a Materializer belongs to one thread and has its own.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import ReferenceChangedError
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import join_path, split_path
from artifactfs.reference.uris import redact_uri
from artifactfs.repository.copying import Copier
from artifactfs.repository.copyworkers import Job, start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactfs.blobstore.packs import PackPlace
    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.model import Placement
    from artifactfs.repository.copyworkers import CopyWorkers, Done
    from artifactfs.repository.landing import Landing
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.trees import Placed, Trees

THREADS: Final = 2
JOB_FILES: Final = 32
JOB_SIZE: Final = 4 << 20
WAITING_JOBS: Final = 32


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be written.

    Attributes:
        paths: all of them, with the directories that lead there; None means everything.
        files: how many files and links.
        size: how many bytes.
    """

    paths: frozenset[bytes] | None
    files: int
    size: int

    def has_path(self, path: bytes) -> bool:
        """Return whether this path is to be written."""
        return self.paths is None or path in self.paths


@dataclass(slots=True)
class Counts:
    """What was written. Changed under a lock."""

    files: int = 0
    size: int = 0
    cloned: int = 0
    copied: int = 0
    kept: int = 0
    linked: int = 0


class Materializer:
    """Writes entries. Belongs to one thread.

    Attributes:
        trees: reads directories.
        counts: what was written so far.
    """

    def __init__(self, repository: Repository, trees: Trees, progress: Progress, *, hard_links: bool = False) -> None:
        """Store where from, whom to tell, and whether loose files become hard links into the store."""
        self._repository = repository
        self._hard_links = hard_links
        self._progress = progress
        self._copier = Copier(lambda size: progress.advance(size=size))
        self._guard = threading.Lock()
        self._running: deque[Future[None]] = deque()
        self._workers: CopyWorkers | None = None
        self.trees = trees
        self.counts = Counts()

    def write(
        self, landing: Landing, directory: DirectoryEntry, selection: Selection, placement: Placement | None = None
    ) -> None:
        """Write the contents of a directory into an open landing, and finish it.

        Raises:
            ArtifactFSError: see `checkout`.
        """
        self._progress.begin(files=selection.files, size=selection.size)
        if not self._hard_links and not self._repository.is_remote:
            self._workers = start(landing, files=selection.files)
        pool = ThreadPoolExecutor(THREADS, "get")
        try:
            made = self._write_tree(landing, directory, selection, (pool, placement))
            while self._running:
                self._running.popleft().result()
            for done in self._workers.finish() if self._workers is not None else ():
                self._note(landing, done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            if self._workers is not None:
                self._workers.close()
        for path, entry in reversed(made):
            self._finish_directory(landing, path, entry)
        try:
            landing.finish(mode=directory.mode, mtime_ns=directory.mtime_ns)
        except OSError as error:
            raise landing.failed(error) from error

    def write_one(self, landing: Landing, placed: Placed) -> None:
        """Write one file or link, given with the place of its content, into an open landing.

        Raises:
            ArtifactFSError: see `checkout`.
        """
        self._progress.begin(files=1, size=getattr(placed[0], "size", 0))
        self._write_batch(landing, b"", [placed])

    def _write_tree(
        self,
        landing: Landing,
        directory: DirectoryEntry,
        selection: Selection,
        context: tuple[ThreadPoolExecutor, Placement | None],
    ) -> list[tuple[bytes, DirectoryEntry]]:
        """Make all directories, hand all files to threads, and return the directories made, parents first."""
        pool, placement = context
        made: list[tuple[bytes, DirectoryEntry]] = []
        waiting: list[tuple[bytes, DirectoryEntry, Placement | None]] = [(b"", directory, placement)]
        while waiting:
            path, current, place = waiting.pop()
            below: list[tuple[bytes, DirectoryEntry, Placement | None]] = []
            others: list[Placed] = []
            for entry, where in self.trees.load_entries(current, place):
                entry_path = join_path(path, entry.name)
                if not selection.has_path(entry_path):
                    continue
                if isinstance(entry, DirectoryEntry):
                    below.append((entry_path, entry, where))
                else:
                    others.append((entry, where))
            self._make_directories(landing, path, [entry for _, entry, _ in below])
            self._submit(pool, landing, path, others)
            made += [(entry_path, entry) for entry_path, entry, _ in below]
            waiting += reversed(below)
        return made

    def _make_directories(self, landing: Landing, path: bytes, entries: list[DirectoryEntry]) -> None:
        if not entries:
            return
        try:
            with landing.directory(path) as parent:
                for entry in entries:
                    landing.make_directory(parent, entry.name)
        except OSError as error:
            raise landing.failed(error, path) from error

    def _submit(self, pool: ThreadPoolExecutor, landing: Landing, path: bytes, entries: list[Placed]) -> None:
        """Hand the files of one directory on, in batches: those that workers copy at once, others to threads.

        Workers are given jobs by one thread: two that look up where files lie take twice as long as one.
        """
        batch: list[Placed] = []
        size = 0
        for number, (entry, place) in enumerate(entries, 1):
            batch.append((entry, place))
            size += getattr(entry, "size", 0)
            if len(batch) >= JOB_FILES or size >= JOB_SIZE or number == len(entries):
                if self._workers is not None and all(where is not None for _, where in batch):
                    self._write_batch(landing, path, batch)
                else:
                    self._running.append(pool.submit(self._write_batch, landing, path, batch))
                batch, size = [], 0
                if len(self._running) > WAITING_JOBS:
                    self._running.popleft().result()

    def _write_batch(self, landing: Landing, path: bytes, batch: list[Placed]) -> None:
        current = path
        job = Job(list(split_path(path)), [])
        try:
            known = self._repository.find_known_places(entry for entry, _ in batch if isinstance(entry, FileEntry))
            with landing.directory(path) as parent:
                for entry, place in batch:
                    current = join_path(path, entry.name)
                    self._write_entry(landing, parent, (entry, place), known, job)
        except OSError as error:
            raise landing.failed(error, current) from error
        if self._workers is not None and job.files and (done := self._workers.copy(job)) is not None:
            self._note(landing, done)

    def _note(self, landing: Landing, done: Done) -> None:
        """Count what a worker has done; do it here if none has."""
        if done.errno is None:
            self._copy_all(landing, done.job)
            return
        written = done.job.files[: done.count]
        size = sum(entry.size for entry, _ in written)
        self._progress.advance(size=size)
        self._count(files=len(written), size=size, copied=len(written))
        for _, file in done.job.files:
            file.close()
        if done.errno:
            path = b"/".join([*done.job.names, done.job.files[done.count][0].name])
            raise landing.failed(OSError(done.errno, os.strerror(done.errno)), path)

    def _copy_all(self, landing: Landing, job: Job) -> None:
        path = current = b"/".join(job.names)
        try:
            with landing.directory(path) as parent:
                for entry, file in job.files:
                    current = join_path(path, entry.name)
                    self._copy_file(landing, parent, entry, file)
        except OSError as error:
            raise landing.failed(error, current) from error

    def _write_entry(
        self, landing: Landing, parent: int, placed: Placed, known: Mapping[bytes, PackPlace], job: Job
    ) -> None:
        entry = placed[0]
        match entry:
            case FileEntry():
                if landing.resumed and self._keep_file(parent, entry):
                    return
                file = self._repository.open_file(entry, placed[1], known=known)
                if self._workers is not None and placed[1] is not None and file.size and file.extent() is not None:
                    job.files.append((entry, file))
                else:
                    self._write_file(landing, parent, (entry, placed[1]), file)
            case SymlinkEntry():
                landing.make_link(parent, entry.name, target=entry.target, mtime_ns=entry.mtime_ns)
                self._count(files=1)
            case ReferenceEntry():
                self._write_reference(landing, parent, entry)
            case _:
                raise AssertionError  # directories are made before

    def _write_file(
        self, landing: Landing, parent: int, placed: tuple[FileEntry, Placement | None], file: ReadableFile
    ) -> None:
        entry, place = placed
        if self._hard_links and place is None and self._link_file(landing, parent, entry, file):
            file.close()
        else:
            self._copy_file(landing, parent, entry, file)

    def _copy_file(self, landing: Landing, parent: int, entry: FileEntry, file: ReadableFile) -> None:
        """Copy one file, and close its content."""
        try:
            with landing.new_file(parent, entry.name) as target:
                cloned = self._copier.copy(file, target)
                _finish_file(target, entry)
        finally:
            file.close()
        self._count(files=1, size=entry.size, cloned=int(cloned), copied=int(not cloned))

    def _link_file(self, landing: Landing, parent: int, entry: FileEntry, file: ReadableFile) -> bool:
        """Make a hard link into the store, and return whether it was made.

        A link has the permission bits and the time of the stored file, so what is to be executed is copied.
        """
        if not file.size or entry.mode & 0o111:
            return False
        if not self._copier.link(file, lambda source: landing.make_hard_link(parent, entry.name, source=source)):
            return False
        self._count(files=1, size=entry.size, linked=1)
        return True

    def _write_reference(self, landing: Landing, parent: int, entry: ReferenceEntry) -> None:
        if landing.resumed and entry.has_sha256 and self._keep_file(parent, entry):
            return
        file = self._repository.references.open(entry)
        with landing.new_file(parent, entry.name) as target:
            self._copier.copy_bytes(file, target)
            if entry.has_sha256 and _hash_file(target) != entry.content:
                raise _other_bytes(entry)
            _finish_file(target, entry)
        self._count(files=1, size=entry.size, copied=1)

    def _keep_file(self, parent: int, entry: FileEntry | ReferenceEntry) -> bool:
        """Return whether an unfinished call has left this file complete."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(entry.name, flags, dir_fd=parent)
        except OSError:
            return False  # missing, or not ours: writing it will tell
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size or status.st_nlink != 1:
                return False
            # Not by size and time alone: after a loss of power these can be right and the content missing.
            if _hash_file(descriptor) != entry.digest.raw:
                return False
            _finish_file(descriptor, entry)
        finally:
            os.close(descriptor)
        self._progress.advance(size=entry.size)
        self._count(files=1, size=entry.size, kept=1)
        return True

    def _finish_directory(self, landing: Landing, path: bytes, entry: DirectoryEntry) -> None:
        try:
            with landing.directory(path) as descriptor:
                os.fchmod(descriptor, entry.mode)
                os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        except OSError as error:
            raise landing.failed(error, path) from error

    def _count(
        self, *, files: int, size: int = 0, cloned: int = 0, copied: int = 0, kept: int = 0, linked: int = 0
    ) -> None:
        with self._guard:
            self.counts.files += files
            self.counts.size += size
            self.counts.cloned += cloned
            self.counts.copied += copied
            self.counts.kept += kept
            self.counts.linked += linked
        self._progress.advance(files=files)


def _finish_file(descriptor: int, entry: FileEntry | ReferenceEntry) -> None:
    os.fchmod(descriptor, entry.mode)
    os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))


def _hash_file(descriptor: int) -> bytes:
    hasher = hashlib.sha256()
    offset = 0
    while data := os.pread(descriptor, CHUNK_SIZE, offset):
        hasher.update(data)
        offset += len(data)
    return hasher.digest()


def _other_bytes(entry: ReferenceEntry) -> ReferenceChangedError:
    shown = redact_uri(entry.uri)
    msg = f"{shown} is not what was recorded: recorded was {entry.digest}; what came hashes to something else"
    return ReferenceChangedError(msg, hint="add it again, or bring the object back", subject=shown)
