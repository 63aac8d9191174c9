"""Which process a run is, whether a process of this host has ended, and which it descends from.

A process is known by its number and by when it started, because numbers are used again; and only within one start of
one machine and one namespace of numbers, because elsewhere the number means another process.

Used by whoever starts and lists runs, and by the socket in a mount. Threading: functions without state.

Source: proc(5), `/proc/<pid>/stat` field 22; pid_namespaces(7).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from artifactfs.runs.events import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_PARENT_FIELD: Final = 1
_START_FIELD: Final = 19
"""Fields 4 and 22 of `stat`, counted from the state, which is field 3 and the first after the name in parentheses."""


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


def has_restarted(process: Process, *, host: str) -> bool:
    """Return whether a host of the same name as that of a process was started after it; hosts may share a name."""
    boot = _read_boot()
    return process.host == host and "" not in (process.boot, boot) and process.boot != boot


def iter_ancestors(pid: int) -> Iterator[int]:
    """Yield a process of this host and those that it descends from, as far as they can be seen: the nearest first."""
    seen: set[int] = set()
    while pid > 0 and pid not in seen:
        seen.add(pid)
        fields = _read_status(pid)
        if fields is None:
            return
        yield pid
        pid = int(fields[_PARENT_FIELD])


def is_process(process: Process, pid: int) -> bool:
    """Return whether a process of this host is the one that a run recorded."""
    same = (process.pid, process.boot, process.namespace) == (pid, _read_boot(), _find_namespace())
    return same and bool(process.start) and _find_start(pid) == process.start


def _find_start(pid: int) -> int | None:
    """Return when a process started, in clock ticks; None when there is none, or it is a zombie."""
    fields = _read_status(pid)
    return None if fields is None or fields[0] in (b"Z", b"X") else int(fields[_START_FIELD])


def _read_status(pid: int) -> list[bytes] | None:
    """Return the fields of `stat` from the state on; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields if len(fields) > _START_FIELD else None


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
