"""Small files out of packs are copied by processes of their own: threads of one Python take turns, and wait.

Each worker has up to four jobs, so that it has one whenever it is done with another. A worker that
died, or could not be started, costs nothing but time: its jobs are given back.

Used by `materialize`. Threading: CopyWorkers may be shared by threads.
"""

from __future__ import annotations

import marshal
import os
import queue
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.repository import copyworker
from artifactfs.repository.copyworker import MESSAGE_LIMIT, PACKS_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.model import FileEntry
    from artifactfs.repository.landing import Landing

FROM_FILES: Final = 2000
"""Files from which starting processes pays: one takes some 15 ms of processor time."""
MOST_WORKERS: Final = 4
_JOBS: Final = 4


@dataclass(frozen=True, slots=True)
class Job:
    """Files of one directory, verified, that lie in packs.

    Attributes:
        names: of the directories that lead there.
        files: entries with their content, which stays open until the job is done.
    """

    names: list[bytes]
    files: list[tuple[FileEntry, ReadableFile]]

    def encode(self) -> tuple[bytes, list[int]] | None:
        """Return the message and the descriptors of the packs; None when it cannot be one message."""
        packs: dict[int, int] = {}
        files = []
        for entry, file in self.files:
            extent = file.extent()
            if extent is None:
                return None
            descriptor, offset = extent
            number = packs.setdefault(descriptor, len(packs))
            files.append((entry.name, entry.mode, entry.mtime_ns, number, offset, file.size))
        message = marshal.dumps((self.names, files))
        is_too_much = len(message) > MESSAGE_LIMIT or len(packs) > PACKS_LIMIT
        return None if is_too_much else (message, list(packs))


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a job.

    Attributes:
        job: which.
        count: so many of its files are complete.
        errno: why the next one could not be made; 0 if nothing went wrong; None when no worker has done it.
    """

    job: Job
    count: int
    errno: int | None


class _Worker:
    """One process, and what it has been given. Belongs to one thread at a time."""

    def __init__(self, landing: Landing, name: str) -> None:
        self.jobs: deque[Job] = deque()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = [theirs.fileno(), *landing.descriptors]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", copyworker.__file__, *map(str, given), name],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=given,
                )
            except BaseException:
                ours.close()
                raise
        self._channel = ours

    def give(self, job: Job, message: bytes, packs: list[int]) -> None:
        """Hand a job over."""
        self.jobs.append(job)
        try:
            socket.send_fds(self._channel, [message], packs)
        except OSError:
            # It is gone, or cannot be told: no answer to this job comes, which `take` finds.
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)

    def take(self) -> Done:
        """Return what became of the oldest job."""
        job = self.jobs.popleft()
        try:
            answer = self._channel.recv(MESSAGE_LIMIT)
        except OSError:
            answer = b""
        if not answer:
            return Done(job, 0, None)
        count, number = marshal.loads(answer)  # noqa: S302 (of a process that this one started)
        return Done(job, count, number)

    def close(self) -> None:
        """Let it end, and wait."""
        self._channel.close()
        self._process.wait()


class CopyWorkers:
    """Processes that copy. May be shared by threads."""

    def __init__(self, landing: Landing, *, count: int) -> None:
        """Start them; see `start`."""
        self._workers: list[_Worker] = []
        self._queue: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        try:
            for number in range(count):
                self._workers.append(_Worker(landing, f"worker-{number}"))
        except BaseException:
            self.close()
            raise
        for worker in self._workers:
            self._queue.put(worker)

    def copy(self, job: Job) -> Done | None:
        """Hand a job over; return what became of an earlier one, or of this one when it cannot be handed over."""
        encoded = job.encode()
        if encoded is None:
            return Done(job, 0, None)
        worker = self._queue.get()
        try:
            worker.give(job, *encoded)
            return worker.take() if len(worker.jobs) >= _JOBS else None
        finally:
            self._queue.put(worker)

    def finish(self) -> Iterator[Done]:
        """Yield what becomes of the jobs that are left."""
        for worker in self._workers:
            while worker.jobs:
                yield worker.take()

    def close(self) -> None:
        """Let all end, and wait."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()


def start(landing: Landing, *, files: int) -> CopyWorkers | None:
    """Start as many workers as there are processors, up to four; None where that does not pay or cannot be done.

    Args:
        landing: where they write, open.
        files: how many files are to be written.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if files < FROM_FILES or cores < 2 or not sys.executable or not os.path.isfile(copyworker.__file__):
        return None
    try:
        return CopyWorkers(landing, count=min(cores, MOST_WORKERS))
    except OSError:
        return None  # no more processes: threads copy as well
