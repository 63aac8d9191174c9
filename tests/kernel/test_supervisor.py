"""The supervisor without a mount: what it does when processes hang, die or cannot be started."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from artifactfs.errors import MountError
from artifactfs.mount.kernel import shared, supervisor
from artifactfs.mount.kernel.backing_table import create_backings
from artifactfs.mount.kernel.codes import InitFlag
from artifactfs.mount.kernel.control_port import CONNECTION_LIMIT, ControlPort
from artifactfs.mount.kernel.negotiation import Negotiated
from artifactfs.mount.kernel.notifications import encode_resend
from artifactfs.mount.kernel.processes import fork_child
from artifactfs.mount.kernel.serving import Mounted
from artifactfs.mount.kernel.sessions import KernelSession
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


class Refused(Supervisor):
    """A supervisor of one worker on a machine that starts no process until it is told to."""

    def __init__(self) -> None:
        self.may_fork = False
        settings = ServeSettings("/nowhere", SourceSpec("none", {}), 1)
        super().__init__(
            Mounted(settings, Negotiated(45, 0, 0, 0, 256), -1, create_counters(), create_backings()), resumes=True
        )

    def _fork_child(self, name: str, main: Callable[[], int]) -> int:
        if not self.may_fork:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork_child(name, lambda: signal.pause() or 0)


def test_where_no_process_can_be_started_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    refused = Refused()
    refused.start()
    for _ in range(2):
        assert refused._due.keys() == {0, shared.NOTIFIER_ROW}
        refused._due = dict.fromkeys(refused._due, 0.0)
        refused._replace_dead()
    assert refused.children == {}
    assert caplog.text.count("no process can be started for row 0: Resource temporarily unavailable") == 1
    refused.may_fork = True
    refused._due = dict.fromkeys(refused._due, 0.0)
    refused._replace_dead()
    assert set(refused.children.values()) == {0, shared.NOTIFIER_ROW}
    assert not refused._due
    refused.end()


def test_a_mount_that_nobody_can_serve_ends() -> None:
    refused = Refused()
    refused._resumes = False
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    try:
        with pytest.raises(MountError, match="no process can be started"):
            refused.run()
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_a_bug_in_what_is_waited_for_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    refused = Refused()
    ours, theirs = socket.socketpair()

    def fail() -> None:
        ours.recv(1)
        raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")

    with ours, theirs:
        refused.add_reader(ours, fail)
        refused.add_tick(fail)
        theirs.send(b"xx")
        refused._step()
    assert caplog.text.count("unexpected way") == 2


def test_connections_that_are_kept_open_keep_nobody_out(tmp_path: Path) -> None:
    supervisor = Refused()
    port = ControlPort(str(tmp_path / "control"), lambda: KernelSession(supervisor, lambda: None))
    port.open(supervisor.add_reader, supervisor.remove_reader)
    kept = []
    for _ in range(CONNECTION_LIMIT + 2):
        kept.append(socket.socket(socket.AF_UNIX))
        kept[-1].connect(str(tmp_path / "control"))
        supervisor._step()
    assert len(port._sessions) == CONNECTION_LIMIT
    kept[0].settimeout(5)
    assert kept[0].recv(1) == b""
    kept[-1].settimeout(5)
    kept[-1].sendall(b'{"do": "info"}\n')
    supervisor._step()
    assert b'"pid"' in kept[-1].recv(1 << 16)
    for connection in kept:
        connection.close()
    port.close()
