"""Storing local files and directories: a walk, a few threads that read, hash and write, and trees built in order.

The walk runs ahead of the threads by a bounded number of files. Directories are closed in the order in which the
walk left them, so a subdirectory is always stored before the one that it lies in.

Used by put, and by the SDK to know a draft's digest. Threading: an Ingest belongs to one thread and has its own.
"""

from __future__ import annotations

import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.blobs import SMALL
from artifactfs.errors import UsageError
from artifactfs.paths import printable
from artifactfs.repository.ignore import Ignored, Patterns, parse_patterns
from artifactfs.repository.reading import Dropped, FileReader
from artifactfs.repository.scan import Scanner
from artifactfs.repository.treebuilder import TreeBuilder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactfs.model import DirectoryEntry, Entry, FileEntry
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.reading import Sink
    from artifactfs.repository.scan import Found, Listing
    from artifactfs.repository.sources import Planned

THREADS: Final = 2
JOB_FILES: Final = 32
JOB_SIZE: Final = 4 << 20
"""A thread takes up to so many files, or bytes of files, at once: handing over costs more than a small file."""
WAITING_JOBS: Final = 32
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What to leave out.

    Attributes:
        exclude: patterns as in gitignore(5), on entry paths.
        skip_special: leave sockets, FIFOs and devices out instead of refusing them.
        forbidden: device and inode of a directory that must not be met: the repository.
    """

    exclude: tuple[str | bytes, ...] = ()
    skip_special: bool = False
    forbidden: tuple[int, int] | None = None

    def patterns(self) -> Patterns:
        """Return the patterns of `exclude`.

        Raises:
            UsageError: one cannot be understood.
        """
        lines = (item.encode("utf-8", "surrogateescape") if isinstance(item, str) else item for item in self.exclude)
        return parse_patterns(lines)


@dataclass(slots=True)
class _Level:
    """A directory that the walk is in, or has left."""

    name: bytes
    path: bytes
    listing: Listing
    waiting: Iterator[Found]
    parent: _Level | None
    entries: list[Entry] = field(default_factory=list)
    jobs: list[Future[list[FileEntry]]] = field(default_factory=list)


class Ingest:
    """Stores what a plan lays out. Belongs to one thread.

    Attributes (valid afterwards):
        special: entry paths of sockets, FIFOs and devices, which were left out.
        dropped: extended attributes that were not kept.
    """

    def __init__(self, sink: Sink, options: IngestOptions, *, now_ns: int, progress: Progress | None = None) -> None:
        """Store the parts; `now_ns` is the time of an empty root that no local directory stands for."""
        self._builder = TreeBuilder(sink)
        self._options = options
        self._now_ns = now_ns
        self._progress = progress
        self._scanner = Scanner(forbidden=options.forbidden)
        self.dropped = Dropped()
        tell = None if progress is None else lambda size: progress.advance(size=size)
        self._reader = FileReader(sink, self.dropped, tell=tell)
        self._pool = ThreadPoolExecutor(THREADS, "put")
        self._job: list[Found] = []
        self._job_size = 0
        self._running: deque[Future[list[FileEntry]]] = deque()
        self._left: deque[_Level] = deque()

    @property
    def special(self) -> tuple[bytes, ...]:
        """Entry paths of sockets, FIFOs and devices that were met."""
        return tuple(sorted(self._scanner.special))

    def store(self, planned: Planned) -> DirectoryEntry:
        """Store everything and return the root's entry. The sink is not flushed.

        Raises:
            UsageError: there are sockets, FIFOs or devices, all of which are named; or the repository itself.
            AlreadyExistsError: a name comes from two sources.
            SourceChangedError: something changed or vanished while it was read.
            AccessDeniedError: something may not be read.
            StorageFullError: there is no room.
        """
        try:
            entry = self._walk(planned)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._check_special()
        return entry

    def _walk(self, planned: Planned) -> DirectoryEntry:
        root = level = self._enter(b"/", b"", planned, Ignored(self._options.patterns()), None)
        while True:
            found = next(level.waiting, None)
            if found is not None:
                if found.planned is not None:
                    level = self._enter(found.name, found.path, found.planned, level.listing.ignored, level)
                else:
                    self._take(level, found)
                continue
            self._submit(level)
            if level.parent is None:
                break
            self._left.append(level)
            level = level.parent
        while self._left:
            self._close(self._left.popleft())
        return self._build(root)

    def _enter(self, name: bytes, path: bytes, planned: Planned, ignored: Ignored, parent: _Level | None) -> _Level:
        if parent is not None:
            self._submit(parent)
        listing = self._scanner.list_directory(planned, path, ignored)
        if listing.local:
            self.dropped.note(path, listing.local)
        return _Level(name, path, listing, iter(listing.found), parent)

    def _take(self, level: _Level, found: Found) -> None:
        assert found.status is not None
        if stat.S_ISLNK(found.status.st_mode):
            level.entries.append(self._reader.read_link(found))
            self.dropped.note(found.path, found.local)
            return
        self._job.append(found)
        self._job_size += found.status.st_size
        if len(self._job) >= JOB_FILES or self._job_size >= JOB_SIZE:
            self._submit(level)

    def _submit(self, level: _Level) -> None:
        """Hand the files collected so far, all of this directory, to a thread."""
        if not self._job or (self._scanner.special and not self._options.skip_special):
            self._job, self._job_size = [], 0  # it is refused anyway: walk on only to name everything
            return
        future = self._pool.submit(self._read_files, self._job)
        self._job, self._job_size = [], 0
        level.jobs.append(future)
        self._running.append(future)
        if len(self._running) > WAITING_JOBS:
            self._running.popleft().result()
            while self._left and all(job.done() for job in self._left[0].jobs):
                self._close(self._left.popleft())

    def _read_files(self, job: list[Found]) -> list[FileEntry]:
        entries = [self._reader.read_file(found) for found in job]
        if self._progress is not None:
            self._progress.advance(files=len(entries), size=sum(entry.size for entry in entries if entry.size <= SMALL))
        return entries

    def _close(self, level: _Level) -> None:
        assert level.parent is not None
        level.parent.entries.append(self._build(level))

    def _build(self, level: _Level) -> DirectoryEntry:
        for job in level.jobs:
            level.entries += job.result()
        mtime_ns = level.listing.mtime_ns
        if mtime_ns is None:
            mtime_ns = max((entry.mtime_ns for entry in level.entries), default=self._now_ns)
        return self._builder.store_directory(
            level.name, mode=level.listing.mode, mtime_ns=mtime_ns, entries=level.entries
        )

    def _check_special(self) -> None:
        if not self.special or self._options.skip_special:
            return
        lines = [f"{printable(path)} ({self._scanner.kinds[path]})" for path in self.special]
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        msg = f"cannot store {', '.join(lines[:SHOWN])}{more}"
        raise UsageError(msg, hint="--skip-special leaves them out", subject=printable(self.special[0]))


def count_plan(planned: Planned, options: IngestOptions) -> tuple[int, int]:
    """Return the number of files and of bytes that a plan lays out, by their status alone.

    Raises:
        ArtifactFSError: as `Ingest.store`, for what can be seen without reading.
    """
    scanner = Scanner(forbidden=options.forbidden)
    files = size = 0
    waiting: list[tuple[Planned, bytes, Ignored]] = [(planned, b"", Ignored(options.patterns()))]
    while waiting:
        directory, path, ignored = waiting.pop()
        listing = scanner.list_directory(directory, path, ignored)
        waiting += [(below.planned, below.path, listing.ignored) for below in listing.found if below.planned]
        count, total = _count(listing.found)
        files, size = files + count, size + total
    return files, size


def _count(found: Iterable[Found]) -> tuple[int, int]:
    sizes = [item.status.st_size for item in found if item.status and stat.S_ISREG(item.status.st_mode)]
    return len(sizes), sum(sizes)
