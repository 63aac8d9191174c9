"""Control groups that limit memory, of either version.

Source: Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """Yield the directory of a new group whose processes may take `limit` bytes; skip where none can be made."""
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    old = (v1 / "memory.limit_in_bytes").exists()
    if not old and "memory" not in (v2 / "cgroup.controllers").read_text().split():
        pytest.skip("this machine cannot limit memory (control groups without memory)")
    group = (v1 if old else v2) / f"artifactfs-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(limit))
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (group.parent / "cgroup.procs").write_text(pid)
        deadline = time.monotonic() + 10
        while group.exists() and time.monotonic() < deadline:
            with suppress(OSError):
                group.rmdir()


def count_kills(group: Path) -> int:
    """Return how many processes of a group were killed for its memory."""
    old = group / "memory.oom_control"
    lines = (old if old.exists() else group / "memory.events").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
