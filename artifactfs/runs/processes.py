"""Which process a run is, and whether a process of this host has ended.

A process is known by its number and by when it started, because numbers are used again; and only within one start of
one machine and one namespace of numbers, because elsewhere the number means another process.

Used by whoever starts and lists runs. Threading: functions without state.

Source: proc(5), `/proc/<pid>/stat` field 22; pid_namespaces(7).
"""

from __future__ import annotations

import os
from typing import Final

from artifactfs.runs.events import Process

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_START_FIELD: Final = 19
"""Field 22 of `stat`, counted from the state, which is field 3 and the first after the name in parentheses."""


def describe_process(*, host: str, user: str, pid: int | None = None) -> Process:
    """Return what names a process for good: this one, or another of this host."""
    number = os.getpid() if pid is None else pid
    return Process(host, user, number, _find_start(number) or 0, _read_boot(), _find_namespace())


def has_ended(process: Process, *, host: str) -> bool:
    """Return whether it is certain that a process has ended: it was of this host, and is no more.

    Args:
        process: as a run recorded it.
        host: the name of this host.
    """
    if process.host != host or not process.boot or not process.start:
        return False
    if (process.boot, process.namespace) != (_read_boot(), _find_namespace()):
        return False
    return _find_start(process.pid) != process.start


def _find_start(pid: int) -> int | None:
    """Return when a process started, in clock ticks; None when there is none, or it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[_START_FIELD])
    except (OSError, IndexError, ValueError):
        return None


def _read_boot() -> str:
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _find_namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
