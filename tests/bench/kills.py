"""Readers that compare what they read while the processes that serve the mount are killed.

Run as `python -m tests.bench.kills MOUNT TREE STOPFILE` this module is one reader.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import workload

READERS: Final = 4
KILL_EVERY_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Kills:
    """What came of it: processes killed, files read, reads that failed or were wrong, longest wait for one read."""

    killed: int
    read: int
    failed: int
    longest_seconds: float


def measure(mount: Path, tree: Path, *, count: int) -> Kills:
    """Kill `count` workers, one and all of them in turn, while readers compare the small files of a mount."""
    stop = tree.parent / "stop"
    command = [sys.executable, "-m", "tests.bench.kills", str(mount), str(tree), str(stop)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(READERS)]
    killed = 0
    while killed < count:
        workers = _find_workers(mount)
        for pid in workers if killed % 3 else workers[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        time.sleep(KILL_EVERY_SECONDS)
    stop.touch()
    told = [json.loads(reader.communicate()[0]) for reader in readers]
    stop.unlink()
    return Kills(
        killed,
        sum(one["read"] for one in told),
        sum(one["failed"] for one in told),
        max(one["longest"] for one in told),
    )


def _find_workers(mount: Path) -> list[int]:
    """Return the living workers of a mount; their environment is that of the command that made it, in its folder."""
    found = []
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                place.name.isdigit()
                and (place / "comm").read_text().startswith("af-worker")
                and os.fsencode(mount.parent) in (place / "environ").read_bytes()
            ):
                found.append(int(place.name))
    return sorted(found)


def _read(mount: Path, tree: Path, stop: Path) -> dict[str, float]:
    names = [os.path.relpath(path, tree) for path in workload.shuffled_files(tree)]
    rng = random.Random(os.getpid())
    read, failed, longest = 0, 0, 0.0
    while not stop.exists():
        name = rng.choice(names)
        wanted = (tree / name).read_bytes()
        start = time.perf_counter()
        try:
            descriptor = os.open(mount / name, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # else the kernel would answer
            failed += os.read(descriptor, len(wanted) + 1) != wanted
            os.close(descriptor)
        except OSError:
            failed += 1
        longest = max(longest, time.perf_counter() - start)
        read += 1
    return {"read": read, "failed": failed, "longest": longest}


if __name__ == "__main__":
    print(json.dumps(_read(*(Path(argument) for argument in sys.argv[1:]))))
