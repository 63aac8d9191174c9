"""Storing local files and directories: a walk, a few threads that read, hash and write, and trees built in order.

The walk runs ahead of the threads by a bounded number of files and bytes. What they read is stored in the order of the
walk: packs hold files as directories list them, and a subdirectory is stored before the one that it lies in.

Used by put, and by the SDK to know a draft's digest. Threading: an Ingest belongs to one thread and has its own.
"""

from __future__ import annotations

import stat
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from artifactfs.blobstore.blobs import SMALL
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, SymlinkEntry, limit_time_ns
from artifactfs.reference.base import is_unverified
from artifactfs.repository.folders import Mark, mark_listing, mark_taken
from artifactfs.repository.ignore import Ignored
from artifactfs.repository.leaving import IngestOptions
from artifactfs.repository.reading import Dropped, FileReader, ReadFile
from artifactfs.repository.scan import Scanner, refuse_special
from artifactfs.repository.taking import Taking
from artifactfs.repository.treebuilder import StoredDirectory, TreeBuilder, stored_directory
from artifactfs.repository.unchanged import Unchanged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artifactfs.index.sourcetable import KnownSource
    from artifactfs.model import Entry
    from artifactfs.repository.directorywriter import DirectoryWriter
    from artifactfs.repository.folders import Part
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.reading import Sink
    from artifactfs.repository.scan import Found, Listing
    from artifactfs.repository.sources import Given, Planned
    from artifactfs.repository.treepacks import AnyPlace
    from artifactfs.repository.unchanged import SourceLog

THREADS: Final = 2
JOB_FILES: Final = 32
JOB_SIZE: Final = 4 << 20
"""A thread takes up to so many files, or bytes of files, at once: handing over costs more than a small file."""
SMALL_FILE: Final = 64 << 10
"""Files up to this size, on an average, are read by the thread that walks,"""
SLOW_SECONDS: Final = 150e-6
SLOW_JOBS: Final = 16
"""unless they took longer than this for each: then threads read the next so many jobs."""
WAITING_JOBS: Final = 64
WAITING_SIZE: Final = 32 << 20
"""So many jobs, or bytes of files, may be on their way."""
__all__ = ["Ingest", "IngestOptions"]

_Taken = ReadFile | SymlinkEntry | ReferenceEntry


@dataclass(slots=True)
class _Level:
    """A directory that the walk is in, or has left."""

    name: bytes
    path: bytes
    listing: Listing
    waiting: Iterator[Found]
    parent: _Level | None
    writer: DirectoryWriter
    local: bytes
    newest_ns: int | None = None
    mark: Mark = field(default_factory=Mark)


class _Read(NamedTuple):
    """Files that were read, or are kept, in the order of the walk, and what they add to their directory's mark."""

    items: list[_Taken]
    part: Part | None


class _Kept(NamedTuple):
    """A whole directory that did not change, and how many regular files it has."""

    stored: StoredDirectory
    file_count: int


@dataclass(slots=True)
class _Job:
    """Some files of one directory that a thread reads; or a directory that is kept, or that the walk has left."""

    level: _Level
    size: int = 0
    files: Future[_Read] | None = None
    kept: _Kept | None = None


class Ingest:
    """Stores what a plan lays out. Belongs to one thread.

    Attributes (valid afterwards):
        special: entry paths of sockets, FIFOs and devices, which were left out.
        dropped: extended attributes that were not kept.
        has_references: whether there was a reference.
        unverified: how many references were unverified.
    """

    def __init__(
        self,
        sink: Sink,
        options: IngestOptions,
        *,
        now_ns: int,
        progress: Progress | None = None,
        sources: SourceLog | None = None,
        taking: Taking | None = None,
    ) -> None:
        """Store the parts.

        Args:
            sink: where content goes.
            options: what to leave out.
            now_ns: the time; an empty root that no local directory stands for gets it.
            progress: is told of bytes and files.
            sources: knows files that were put before; None reads all.
            taking: finds the content of entries that are taken from versions.
        """
        self._sink = sink
        self._unchanged = None if sources is None else Unchanged(sources, now_ns=now_ns, rehash=options.rehash)
        self._builder = TreeBuilder(sink)
        self._options = options
        self._now_ns = now_ns
        self._progress = progress
        self._scanner = Scanner(forbidden=options.forbidden)
        self.dropped = Dropped()
        self.has_references = False
        self.unverified = 0
        tell = None if progress is None else lambda size: progress.advance(size=size)
        self._reader = FileReader(sink, self.dropped, tell=tell)
        self._pool = ThreadPoolExecutor(THREADS, "put")
        self._collected: list[Found] = []
        self._collected_size = 0
        self._given: list[Given] = []
        self._taking = taking or Taking()
        self._jobs: deque[_Job] = deque()
        self._waiting_size = 0
        self._with_threads = 0

    @property
    def special(self) -> tuple[bytes, ...]:
        """Entry paths of sockets, FIFOs and devices that were met."""
        return tuple(sorted(self._scanner.special))

    def store(self, planned: Planned) -> StoredDirectory:
        """Store everything and return the root. The sink is not flushed.

        Raises:
            UsageError: there are sockets, FIFOs or devices, all of which are named; or the repository itself.
            AlreadyExistsError: a name comes from two sources.
            SourceChangedError: something changed or vanished while it was read.
            AccessDeniedError: something may not be read.
            StorageFullError: there is no room.
        """
        try:
            stored = self._walk(planned)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._check_special()
        return stored

    def _walk(self, planned: Planned) -> StoredDirectory:
        ignored = Ignored(self._options.patterns())
        kept = self._find_kept(b"/", b"", planned, ignored)
        if kept is not None:
            self._tell_kept(kept)
            return kept.stored
        root = level = self._enter(b"/", b"", planned, ignored, None)
        while True:
            found = next(level.waiting, None)
            if found is not None:
                if found.given is not None:
                    self._take_given(level, found.given)
                elif found.planned is not None:
                    level = self._descend(level, found, found.planned)
                else:
                    self._take(level, found)
                continue
            self._submit(level)
            if level.parent is None:
                break
            self._append(_Job(level))
            level = level.parent
        while self._jobs:
            self._finish_job()
        return self._close(root)

    def _descend(self, level: _Level, found: Found, planned: Planned) -> _Level:
        """Enter a directory, or keep it whole; return the directory in which the walk goes on."""
        kept = self._find_kept(found.name, found.path, planned, level.listing.ignored)
        if kept is None:
            return self._enter(found.name, found.path, planned, level.listing.ignored, level)
        self._submit(level)
        self._append(_Job(level, kept=kept))
        return level

    def _find_kept(self, name: bytes, path: bytes, planned: Planned, ignored: Ignored) -> _Kept | None:
        """Return a directory that did not change since it was put, if all of it is still stored."""
        known = self._unchanged
        if known is None or not planned.is_plain or not known.knows_folder(local := planned.contents[0]):
            return None
        scanner = Scanner(forbidden=self._options.forbidden)  # what it meets counts only when all is kept
        listing = scanner.list_directory(planned, path, ignored)
        mark = mark_listing(listing.found)
        found = None if scanner.special or listing.mtime_ns is None else known.find_folder(local, mark)
        place = None if found is None else self._sink.find_stored_tree(found.tree)
        if found is None or place is None or listing.mtime_ns is None:
            return None
        self.dropped.note(path, local)
        entry = DirectoryEntry(
            name, listing.mode, listing.mtime_ns, found.tree, found.content, found.size, found.file_count
        )  # fmt: skip
        return _Kept(StoredDirectory(entry, place), mark.file_count)

    def _enter(self, name: bytes, path: bytes, planned: Planned, ignored: Ignored, parent: _Level | None) -> _Level:
        if parent is not None:
            self._submit(parent)
        listing = self._scanner.list_directory(planned, path, ignored)
        if listing.local:
            self.dropped.note(path, listing.local)
        local = planned.contents[0] if planned.is_plain else b""
        return _Level(name, path, listing, iter(listing.found), parent, self._builder.begin_directory(), local)

    def _take(self, level: _Level, found: Found) -> None:
        assert found.status is not None
        self._submit_given(level)
        self._collected.append(found)
        self._collected_size += found.status.st_size
        if len(self._collected) >= JOB_FILES or self._collected_size >= JOB_SIZE:
            self._submit(level)

    def _take_given(self, level: _Level, entry: Given) -> None:
        """Put an entry, of which nothing is read, in its place after what was collected."""
        if isinstance(entry, ReferenceEntry):
            self.has_references = True
            self.unverified += is_unverified(entry)
        if self._collected or len(self._given) >= JOB_FILES:
            self._submit(level)
        self._given.append(entry)

    def _submit_given(self, level: _Level) -> None:
        given, self._given = self._given, []
        if given:
            read: Future[_Read] = Future()
            read.set_result(_Read(self._taking.take(self._sink, given), None))
            self._append(_Job(level, 0, read))

    def _submit(self, level: _Level) -> None:
        """Hand what was collected so far, all of it in this directory, to a thread."""
        self._submit_given(level)
        collected, size = self._collected, self._collected_size
        self._collected, self._collected_size = [], 0
        if not collected or (self._scanner.special and not self._options.skip_special):
            return  # it is refused anyway: walk on only to name everything
        self._append(_Job(level, size, self._begin(collected, size)))

    def _append(self, job: _Job) -> None:
        self._jobs.append(job)
        self._waiting_size += job.size
        while len(self._jobs) > WAITING_JOBS or (self._waiting_size > WAITING_SIZE and len(self._jobs) > THREADS):
            self._finish_job()

    def _begin(self, collected: list[Found], size: int) -> Future[_Read]:
        """Return what becomes of some files: known at once when all are kept, else when a thread has read the others.

        What is known is looked up here: each lstat(2) of the walk gives the interpreter away, and when threads take it
        for work as short as this, getting it back costs more than the call.
        """
        if self._unchanged is None:
            return self._begin_reading(collected, [None] * len(collected), size)
        known = self._unchanged.find([(found.local, found.status) for found in collected if found.status is not None])
        self._sink.look_up([same.sha256 for same in known if same is not None])
        kept = [self._keep(found, same) for found, same in zip(collected, known, strict=True)]
        if None in kept:
            return self._begin_reading(collected, kept, size)
        done: Future[_Read] = Future()
        items: list[_Taken] = [item for item in kept if item is not None]
        done.set_result(_Read(items, mark_taken(collected, items)))
        return done

    def _begin_reading(self, collected: list[Found], kept: Sequence[ReadFile | None], size: int) -> Future[_Read]:
        """Read files here, when they are small and come out of memory; else have a thread do it.

        Threads take the interpreter from each other at every call of the system, which costs more than such a file.
        But what comes from a disk is waited for, so several do that at once.
        """
        if size > len(collected) * SMALL_FILE or self._with_threads:
            self._with_threads = max(0, self._with_threads - 1)
            return self._pool.submit(self._read_files, collected, kept)
        begun = time.perf_counter()
        done: Future[_Read] = Future()
        done.set_result(self._read_files(collected, kept))
        if time.perf_counter() - begun > len(collected) * SLOW_SECONDS:
            self._with_threads = SLOW_JOBS
        return done

    def _read_files(self, job: list[Found], kept: Sequence[ReadFile | None]) -> _Read:
        """Return files in the order of the walk, reading those that are not kept; in a thread."""
        read: list[_Taken] = [item or self._read(found) for found, item in zip(job, kept, strict=True)]
        if self._unchanged is not None:
            self._unchanged.add(
                [
                    (found.local, item.status, item.file)
                    for found, item in zip(job, read, strict=True)
                    if isinstance(item, ReadFile) and item.status is not None
                ]
            )
        self._sink.look_up([item.file.sha256 for item in read if isinstance(item, ReadFile) and item.data is not None])
        return _Read(read, None if self._unchanged is None else mark_taken(job, read))

    def _keep(self, found: Found, known: KnownSource | None) -> ReadFile | None:
        """Return a file that did not change, if its content is still stored."""
        stored = None if known is None else self._sink.find_stored(known)
        if stored is None or found.status is None:
            return None
        self.dropped.note(found.path, found.local)
        mode, mtime_ns = found.status.st_mode & 0o777, limit_time_ns(found.status.st_mtime_ns)
        return ReadFile(FileEntry(found.name, mode, mtime_ns, stored.size, stored.sha256, stored.sums), stored.place)

    def _read(self, found: Found) -> ReadFile | SymlinkEntry:
        if found.status is not None and stat.S_ISLNK(found.status.st_mode):
            self.dropped.note(found.path, found.local)
            return self._reader.read_link(found)
        return self._reader.read_file(found)

    def _finish_job(self) -> None:
        """Put the oldest job's files, or directory, into the directory where they belong."""
        job = self._jobs.popleft()
        if job.kept is not None:
            job.level.mark.add(None)
            self._add(job.level, *job.kept.stored)
            self._tell_kept(job.kept)
            return
        if job.files is None:
            assert job.level.parent is not None
            job.level.parent.mark.add(None)
            self._add(job.level.parent, *self._close(job.level))
            return
        read, part = job.files.result()
        job.level.mark.add(part)
        self._waiting_size -= job.size
        for item in read:
            if isinstance(item, SymlinkEntry | ReferenceEntry):
                self._add(job.level, item, None)
            else:
                self._add(job.level, item.file, self._reader.store(item).place)
        if self._progress is not None:
            files = [item for item in read if isinstance(item, ReadFile)]
            # Of a large file that is read, the bytes were told as they were read.
            told = sum(item.file.size for item in files if item.file.size <= SMALL or item.status is None)
            self._progress.advance(files=len(files), size=told)

    def _tell_kept(self, kept: _Kept) -> None:
        if self._progress is not None:
            self._progress.advance(files=kept.file_count, size=kept.stored.entry.size)

    def _add(self, level: _Level, entry: Entry, place: AnyPlace) -> None:
        level.writer.add(entry, place)
        level.newest_ns = entry.mtime_ns if level.newest_ns is None else max(level.newest_ns, entry.mtime_ns)

    def _close(self, level: _Level) -> StoredDirectory:
        mtime_ns = level.listing.mtime_ns
        if mtime_ns is None:
            mtime_ns = self._now_ns if level.newest_ns is None else level.newest_ns
        stored = stored_directory(level.name, level.listing.mode, mtime_ns, level.writer.finish())
        has_dropped = self.dropped.pop_folder(level.path)
        if self._unchanged is not None and level.local and not has_dropped:
            self._unchanged.add_folder(level.local, level.mark, stored.entry)
        return stored

    def _check_special(self) -> None:
        if not self.special or self._options.skip_special:
            return
        raise refuse_special(self._scanner.kinds, hint="--skip-special leaves them out")
