"""What a reader of the figures must know of the machine."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

_ROUNDS = 2000


def describe() -> str:
    """Return one line: kernel, processors, Python, how idle processors wake."""
    driver = _read("/sys/devices/system/cpu/cpuidle/current_driver") or "none"
    poll = _read("/sys/module/haltpoll/parameters/guest_halt_poll_ns")
    idle = driver if poll is None or driver != "haltpoll" else f"{driver}, polling {poll} ns"
    return (
        f"Linux {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}, idle driver {idle}, "
        f"{round_trip_seconds() * 1e6:.0f} us for a round trip between two processes"
    )


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def round_trip_seconds() -> float:
    """Return how long a byte takes to another process and back."""
    down, up = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(down[1])
        while byte := os.read(down[0], 1):
            os.write(up[1], byte)
        os._exit(0)
    os.close(down[0])
    start = time.perf_counter()
    for _ in range(_ROUNDS):
        os.write(down[1], b"x")
        os.read(up[0], 1)
    spent = time.perf_counter() - start
    for descriptor in (down[1], *up):
        os.close(descriptor)
    os.waitpid(child, 0)
    return spent / _ROUNDS
