"""Children of the supervisor: starting them, and dying with it.

Threading: the process that forks has one thread.
Source: fork(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from artifactfs.mount.logs import follow_log

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_RESET: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)


def fork_child(name: str, main: Callable[[], int]) -> int:
    """Fork a child that runs `main` and exits with what it returns; return its process id.

    The child is killed when this process dies: workers without a supervisor would serve a mount that nobody mends.
    """
    parent = os.getpid()
    gc.freeze()  # the collector does not touch, and so does not copy, what is shared
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _become_child(name, parent)
        status = main()
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent
        _log.exception("%s ends by an error", name)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)


def _become_child(name: str, parent: int) -> None:
    signal.set_wakeup_fd(-1)
    follow_log()
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to the whole group; the supervisor decides
        signal.signal(number, signal.SIG_IGN)
    library = ctypes.CDLL(None)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    library.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def reap() -> list[tuple[int, int]]:
    """Return (process id, status) of all children that have ended since the last call."""
    ended = []
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def describe_status(status: int) -> str:
    """Return how a child ended, from its wait status."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def end_children(pids: set[int], *, grace_seconds: float) -> None:
    """End children by SIGTERM, and by SIGKILL what is left after a while; all are reaped."""
    left = set(pids)
    for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, grace_seconds)):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience
        while left and time.monotonic() < deadline:
            left = {pid for pid in left if not _has_ended(pid)}
            if left:
                time.sleep(0.005)
    if left:
        _log.error("processes %s do not end; they wait for a disk", sorted(left))


def _has_ended(pid: int) -> bool:
    """Return whether a process has ended, and reap it alone: who watches others has to see these end."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return not _exists(pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
