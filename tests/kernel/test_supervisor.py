"""The supervisor without a mount: what it does when processes hang or die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from artifactfs.mount.kernel import shared, supervisor
from artifactfs.mount.kernel.backing_table import create_backings
from artifactfs.mount.kernel.codes import InitFlag
from artifactfs.mount.kernel.negotiation import Negotiated
from artifactfs.mount.kernel.notifications import encode_resend
from artifactfs.mount.kernel.serving import Mounted
from artifactfs.mount.kernel.settings import ServeSettings
from artifactfs.mount.kernel.shared import create_counters
from artifactfs.mount.kernel.source import SourceSpec
from artifactfs.mount.kernel.supervisor import Supervisor

from .waiting import wait_until


class Watched(Supervisor):
    """A supervisor of one worker, whose processes only wait, and whose device is a pipe."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        settings = ServeSettings("/nowhere", SourceSpec("none", {}), 1, stuck_seconds=1)
        agreed = Negotiated(45, int(InitFlag.HAS_RESEND), 0, 0, 256)
        super().__init__(Mounted(settings, agreed, writing, create_counters(), create_backings()))
        self.forked: list[int] = []

    def _fork(self, row: int) -> None:
        pid = os.fork()
        if not pid:
            while True:
                signal.pause()
        self.forked.append(pid)
        self.children[pid] = row
        self._started[row] = time.monotonic()
        self._due.pop(row, None)
        self.mounted.counters.row(row)[shared.PID] = pid

    def hang(self) -> None:
        """Let the worker seem to have worked on a READ for a minute."""
        row = self.mounted.counters.row(0)
        row[shared.OPCODE], row[shared.NODE] = 15, 7
        row[shared.BUSY_SINCE] = time.monotonic_ns() - 60 * 10**9

    def resent(self) -> int:
        """Return how many RESENDs were sent since the last call."""
        with suppress(BlockingIOError):
            return len(os.read(self.reading, 1 << 16)) // len(encode_resend())
        return 0

    def close(self) -> None:
        for pid in self.forked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        os.close(self.reading)
        os.close(self.mounted.device)


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    watched._fork(0)
    yield watched
    watched.close()


def test_what_a_stuck_worker_held_is_sent_again_at_once_and_when_it_is_dead(watched: Watched) -> None:
    [first] = watched.forked
    watched.hang()
    watched._replace_stuck()
    assert watched.resent() == 1
    assert list(watched.children) == watched.forked[1:]
    assert watched.restarts == 1

    def look() -> bool:
        watched._replace_dead()
        return first not in watched._stuck

    wait_until(look, what="the stuck one to be reaped")
    assert watched.resent() == 1
    assert watched.restarts == 1
    assert len(watched.forked) == 2


def test_a_disk_that_answers_nobody_does_not_collect_processes(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STUCK_LIMIT", 3)
    for _ in range(10):
        watched.hang()
        watched._replace_stuck()
    assert len(watched.forked) == 4
    assert len(watched.children) == 1


def test_a_worker_that_died_is_replaced_and_its_requests_are_sent_again(watched: Watched) -> None:
    [first] = watched.forked
    os.kill(first, signal.SIGKILL)

    def look() -> bool:
        watched._replace_dead()
        return len(watched.forked) == 2 and first not in watched.children

    wait_until(look, what="another worker")
    assert watched.resent() == 1
    assert (watched.restarts, list(watched.children)) == (1, watched.forked[1:])
