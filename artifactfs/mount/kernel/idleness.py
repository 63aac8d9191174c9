"""Finding processes that take no requests: stopped ones, and all workers while requests wait in the kernel.

A process that works on a request says so in its row; these have taken none, so nothing else tells that they are stuck.

Used by the supervisor. Threading: one thread.
Source: proc_pid_stat(5); Documentation/filesystems/fuse.rst, "Control filesystem".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from artifactfs.mount.kernel import shared
from artifactfs.mount.mountinfo import find_mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactfs.mount.kernel.shared import SharedCounters

CONNECTIONS: Final = "/sys/fs/fuse/connections"
"""Where the fusectl file system is mounted, if it is."""
LOOK_SECONDS: Final = 1.0
"""How often to look. Who is stopped at two looks is taken to stay so; a terminal's ^Z stops the supervisor as well."""


class Idleness:
    """Looks at the processes of one mount.

    Threading: one thread.
    """

    def __init__(
        self, mountpoint: str, counters: SharedCounters, *, workers: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Store the mount, the rows of its processes, of which workers have the first, and a clock."""
        self._mountpoint = mountpoint
        self._counters = counters
        self._workers = workers
        self._now = now
        self._place: str | None = None
        self._due = now() + LOOK_SECONDS
        self._stopped: set[int] = set()
        self._answered = -1
        self._waits_since: float | None = None

    def is_due(self) -> bool:
        """Return whether it is time to look again; True once for each look."""
        if self._now() < self._due:
            return False
        self._due = self._now() + LOOK_SECONDS
        return True

    def find_stopped(self, pids: Iterable[int]) -> set[int]:
        """Return the processes that are stopped, and were at the last look."""
        before, self._stopped = self._stopped, {pid for pid in pids if read_state(pid) == "T"}
        return before & self._stopped

    def is_overdue(self, seconds: float) -> bool:
        """Return whether requests wait, and no worker has taken any for so long; then the time begins anew."""
        rows = [self._counters.row(index) for index in range(self._workers)]
        answered = sum(sum(row[shared.BY_OPCODE : shared.LATENCY]) for row in rows)
        fetching = self._counters.row(shared.FETCHER_ROW)[shared.WAITING]  # taken, and not answered
        is_busy = fetching or any(row[shared.BUSY_SINCE] for row in rows)
        if is_busy or answered != self._answered or not self._count_waiting():
            self._answered, self._waits_since = answered, None
            return False
        if self._waits_since is None:
            self._waits_since = self._now()
        if self._now() - self._waits_since <= seconds:
            return False
        self._waits_since = None
        return True

    def _count_waiting(self) -> int:
        """Return how many requests the kernel has no answer to; 0 where it does not say."""
        if self._place is None:
            line = find_mount(self._mountpoint)
            self._place = "" if line is None else f"{CONNECTIONS}/{line.device.partition(':')[2]}/waiting"
        try:
            with open(self._place, "rb") as file:
                return int(file.read())
        except (OSError, ValueError):
            return 0


def read_state(pid: int) -> str:
    """Return the letter for what a process does; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1].decode()
    except OSError:
        return ""
