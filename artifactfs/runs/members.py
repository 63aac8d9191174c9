"""The processes of a run: those that its command started, at any remove, and that go on when it has ended.

A process is a run's when its environment names the run, or when it lives in the mount namespace that was made for it.
Who began as one passes both on to what he starts.

Used by whoever runs programs. Threading: functions without state.

Source: proc(5), `/proc/<pid>/environ`; namespaces(7); pidfd_open(2); PR_SET_CHILD_SUBREAPER in prctl(2).
"""

from __future__ import annotations

import os
import select
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from artifactfs.repository.runviews import NAME_PREFIX
from artifactfs.variables import RUN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

_SET_CHILD_SUBREAPER: Final = 36
LOOKS: Final = 3
"""So often nothing must be found: a process can start another and end while the list is read."""


def adopt_orphans() -> None:
    """Become the parent of whatever a child leaves behind, so that `has_children` counts it."""
    import ctypes  # noqa: PLC0415 (whoever only begins a run needs it not)

    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_others(pid: int) -> None:
    """Clear away children that have ended, but for one."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or found.si_pid == pid:
                return
            os.waitpid(found.si_pid, os.WNOHANG)
        except ChildProcessError:
            return


def has_children() -> bool:
    """Return whether this process has children, after clearing away those that have ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:
            return False


def find_mount_namespace(pid: int) -> int:
    """Return the mount namespace of a process; 0 when it cannot be seen, or is this process's own."""
    try:
        found = os.stat(f"/proc/{pid}/ns/mnt").st_ino
        return 0 if found == os.stat("/proc/self/ns/mnt").st_ino else found
    except OSError:
        return 0


def find_members(variable: str, *, namespace: int) -> list[int]:
    """Return the numbers of the processes of a run, as far as this user can see them; this one is none.

    Args:
        variable: `NAME=ID` as it stands in their environment.
        namespace: that was made for the run; 0 for none.
    """
    wanted, own = variable.encode(), os.getpid()
    return [
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and int(name) != own and _is_member(f"/proc/{name}", wanted, namespace)
    ]


def has_members(variable: str, *, namespace: int) -> bool:
    """Return whether a run has a process; as `find_members`, but one look that finds none is not believed."""
    return any(find_members(variable, namespace=namespace) for _ in range(LOOKS))


def goes_on(run: str) -> bool:
    """Return whether there is a process of a run, perhaps this one, as its environment says or what is mounted for it.

    Unlike `find_members` this needs no namespace. Only processes that this user may look at are seen.
    """
    variable, view = f"{RUN_VARIABLE}={run}".encode(), b"/" + NAME_PREFIX + run.encode()
    seen: dict[int, bool] = {}
    names = (name for _ in range(LOOKS) for name in os.listdir("/proc") if name.isdigit())
    return any(_goes_on(f"/proc/{name}", variable, view, seen) for name in names)


def _goes_on(folder: str, variable: bytes, view: bytes, seen: dict[int, bool]) -> bool:
    """Return whether a process belongs to a run; `seen` says which mount namespaces have its view.

    Source: proc_pid_mountinfo(5): the root of a bound mount is the path that is bound.
    """
    try:
        if _is_member(folder, variable, 0):
            return True
        namespace = os.stat(f"{folder}/ns/mnt").st_ino
        if namespace not in seen:
            with open(f"{folder}/mountinfo", "rb") as file:
                seen[namespace] = view in file.read()
    except OSError:
        return False  # it has ended, or is another user's
    return seen[namespace]


def _is_member(folder: str, wanted: bytes, namespace: int) -> bool:
    try:
        if namespace and os.stat(f"{folder}/ns/mnt").st_ino == namespace:
            return True
    except OSError:
        pass
    try:
        with open(f"{folder}/environ", "rb") as file:
            return wanted in file.read().split(b"\0")
    except OSError:
        return False


def await_end(find: Callable[[], list[int]], *, seconds: float, meanwhile: Callable[[], None]) -> None:
    """Return when there is no process any more.

    Args:
        find: returns those that there are.
        seconds: how often `meanwhile` is called.
        meanwhile: what is to be done now and then.
    """
    looks = 0
    while looks < LOOKS:
        found = find()
        looks = 0 if found else looks + 1
        _await_these(found, seconds=seconds, meanwhile=meanwhile)


def _await_these(pids: list[int], *, seconds: float, meanwhile: Callable[[], None]) -> None:
    with ExitStack() as stack:
        poll, waiting = select.poll(), 0
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, descriptor)
            poll.register(descriptor, select.POLLIN)
            waiting += 1
        while waiting:
            ended = poll.poll(seconds * 1000)
            for descriptor, _ in ended:
                poll.unregister(descriptor)
            waiting -= len(ended)
            if not ended:
                meanwhile()
