"""Killing workers while programs use a mount."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from .waiting import wait_until

CLIENTS = Path(__file__).with_name("clients.py")
KINDS = ("read", "read", "list", "stat", "map", "signals")


def has_resend() -> bool:
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    return release >= (6, 9)


needs_resend = pytest.mark.skipif(not has_resend(), reason="this kernel has no RESEND (Linux 6.9)")


@contextmanager
def clients(mount: Path, truth: Path, tmp_path: Path, *, kinds: tuple[str, ...] = KINDS) -> Iterator[None]:
    """Run programs that compare what is below `mount` with `truth`; at the end each must have found no difference."""
    stop = tmp_path / "stop"
    running = [
        subprocess.Popen(
            [sys.executable, str(CLIENTS), kind, str(mount), str(truth), str(stop)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for kind in kinds
    ]
    try:
        yield
    finally:
        stop.touch()
        answers = [process.communicate(timeout=60) for process in running]
    for process, (out, error) in zip(running, answers, strict=True):
        assert process.returncode == 0, error.decode()
        assert int(out) > 0


def kill(
    workers: Callable[[], list[int]], *, count: int, all_at_once: bool, pause: float, between: Callable[[], None]
) -> int:
    """Kill one of two workers, or both, again and again, until `count` were killed; return how many were."""
    done = 0
    rng = random.Random(1)
    while done < count:
        wait_until(lambda: len(workers()) == 2, what="two workers")
        time.sleep(rng.random() * pause)
        victims = workers()
        for pid in victims if all_at_once else victims[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                done += 1
        # Who is dead and not yet buried would be killed, and counted, twice.
        wait_until(lambda killed=victims if all_at_once else victims[:1]: not set(killed) & set(workers()))
        between()
    return done


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("3")
