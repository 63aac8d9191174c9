"""Processes that take no requests: who counts as such, and after how long."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from artifactfs.mount.kernel import idleness, shared
from artifactfs.mount.kernel.idleness import Idleness, read_state
from artifactfs.mount.kernel.shared import create_counters

from .conftest import Server
from .killing import needs_resend
from .waiting import wait_until

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000


class Looked(Idleness):
    """One with a clock and a kernel of its own."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waiting = 0
        self.counters = create_counters()
        super().__init__("/nowhere", self.counters, workers=2, now=lambda: self.seconds)

    def _count_waiting(self) -> int:
        return self.waiting

    def overdue(self, seconds: float) -> bool:
        """Return whether it is overdue after some time has passed."""
        self.seconds += seconds
        return self.is_overdue(60)


def test_only_requests_that_wait_and_that_nobody_takes_are_overdue() -> None:
    looked = Looked()
    assert not looked.overdue(100)
    looked.waiting = 1
    assert not looked.overdue(100)
    assert not looked.overdue(59)
    looked.counters.row(1)[shared.BY_OPCODE + 15] += 1
    assert not looked.overdue(10)
    assert not looked.overdue(1)
    looked.counters.row(0)[shared.BUSY_SINCE] = 1
    assert not looked.overdue(100)
    looked.counters.row(0)[shared.BUSY_SINCE] = 0
    looked.counters.row(shared.FETCHER_ROW)[shared.WAITING] = 1
    assert not looked.overdue(100)
    looked.counters.row(shared.FETCHER_ROW)[shared.WAITING] = 0
    assert not looked.overdue(1)
    assert looked.overdue(61)
    assert not looked.overdue(1), "the time begins anew"


def test_it_looks_once_a_second() -> None:
    looked = Looked()
    assert not looked.is_due()
    looked.seconds = 1.5
    assert looked.is_due()
    assert not looked.is_due()


def test_stopped_at_two_looks() -> None:
    looked = Looked()
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert looked.find_stopped([process.pid]) == set()
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda: read_state(process.pid) == "T")
            assert looked.find_stopped([process.pid]) == set()
            assert looked.find_stopped([process.pid]) == {process.pid}
            os.kill(process.pid, signal.SIGCONT)
            wait_until(lambda: read_state(process.pid) != "T")
            assert looked.find_stopped([process.pid]) == set()
        finally:
            process.kill()
    assert read_state(process.pid) == ""


def test_a_mount_that_is_not_known_here_has_nothing_waiting() -> None:
    assert Idleness("/nowhere", create_counters(), workers=1)._count_waiting() == 0


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the control file system, wherever this machine has it."""
    place = tmp_path / "connections"
    place.mkdir()
    if subprocess.run(["mount", "-t", "fusectl", "none", place], capture_output=True, check=False).returncode:
        pytest.skip("fusectl cannot be mounted")
    monkeypatch.setattr(idleness, "CONNECTIONS", str(place))
    yield
    subprocess.run(["umount", place], check=True)


@pytest.mark.mounted
@pytest.mark.usefixtures("connections")
def test_the_kernel_says_how_many_wait(serve: Callable[..., Server], tree: Path) -> None:
    server = serve(tree, "--workers", "1")
    looked = Idleness(str(server.path), create_counters(), workers=1)
    assert looked._count_waiting() == 0
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    with subprocess.Popen(["cat", server.path / "cat.txt"], stdout=subprocess.DEVNULL) as asking:
        wait_until(lambda: looked._count_waiting() > 0)
        assert asking.wait(timeout=20) == 0


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Hold a process as a debugger does: it runs no more, and is not stopped. Source: ptrace(2)."""
    trace = ctypes.CDLL(None, use_errno=True).ptrace
    trace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    trace.restype = ctypes.c_long
    if trace(PTRACE_SEIZE, pid, None, None):
        pytest.skip(f"processes cannot be traced here: {os.strerror(ctypes.get_errno())}")
    trace(PTRACE_INTERRUPT, pid, None, None)
    os.waitpid(pid, WALL)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # unless it was already; its parent is told after this
        os.waitpid(pid, WALL)


@needs_resend
@pytest.mark.mounted
@pytest.mark.usefixtures("connections")
def test_workers_that_take_nothing_while_requests_wait_are_replaced(serve: Callable[..., Server], tree: Path) -> None:
    server = serve(tree, "--workers", "2", "--stuck", "1", "--connections", idleness.CONNECTIONS)
    wait_until(lambda: len(server.workers()) == 2)
    first, second = server.workers()
    with held(first), held(second):
        assert read_state(first) == read_state(second) == "t"
        asked = subprocess.run(["cat", server.path / "cat.txt"], capture_output=True, check=True, timeout=30)
    assert asked.stdout == (tree / "cat.txt").read_bytes()
    assert f"requests wait for over 1 s, and no worker takes any; {sorted((first, second))} are replaced" in (
        server.logged()
    )
    wait_until(lambda: not {first, second} & set(server.workers()), what="both to be buried")
    assert server.process.poll() is None
