"""Replacing a running supervisor by the installed version, by exec: same process, same descriptor, no unmount.

What must go on is written to a memfd and found again by its number. Workers serve during all of it; the new
supervisor ends them when its own do.

Threading: one thread. Source: execve(2).
"""

from __future__ import annotations

import logging
import os
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NoReturn

from msgspec import structs

from artifactfs.errors import MountError
from artifactfs.mount.kernel.settings import Handover, store_handover

if TYPE_CHECKING:
    from artifactfs.mount.kernel.supervisor import Supervisor

_log = logging.getLogger(__name__)
CHECK_SECONDS: Final = 20.0


def check_installed(command: list[str], *, handover: int) -> None:
    """Return when the installed version starts, and can read what it is handed; else the upgrade would end the mount.

    Args:
        command: one that imports everything that serving needs, reads the handover, and ends with status 0.
        handover: number of the memfd, which is added to the command; closed when this raises.

    Raises:
        MountError: it does not start; nothing has changed.
    """
    with ExitStack() as stack:
        stack.callback(os.close, handover)
        try:
            done = subprocess.run(
                [*command, str(handover)], pass_fds=[handover], capture_output=True, timeout=CHECK_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            msg = f"the installed version does not start: {error}"
            raise MountError(msg, hint="the mount goes on with the version that serves it") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            msg = f"the installed version does not start: {said[-1] if said else 'it ends at once'}"
            raise MountError(msg, hint="the mount goes on with the version that serves it")
        stack.pop_all()


def handover_of(supervisor: Supervisor, *, started_ns: int, extra: dict[str, str] | None = None) -> int:
    """Return a memfd with all that the next program needs; the descriptors in it go through exec.

    Args:
        supervisor: what serves now.
        started_ns: when the mount came up.
        extra: what the daemon around wants to find again.
    """
    mounted = supervisor.mounted
    handover = describe(supervisor, started_ns=started_ns, extra=extra or {})
    handover = structs.replace(handover, upgrades=handover.upgrades + 1)
    for number in (mounted.device, mounted.counters.descriptor, mounted.backings.descriptor):
        os.set_inheritable(number, True)
    return store_handover(handover)


def describe(supervisor: Supervisor, *, started_ns: int, extra: dict[str, str]) -> Handover:
    """Return what a supervisor serves, as it is now."""
    mounted = supervisor.mounted
    return Handover(
        mounted.settings,
        mounted.agreed,
        mounted.device,
        mounted.counters.descriptor,
        mounted.backings.descriptor,
        tuple(supervisor.children),
        supervisor.restarts,
        supervisor.upgrades,
        started_ns,
        extra,
    )


def replace_program(command: list[str]) -> NoReturn:
    """Replace this process's program. Does not return."""
    _log.info("process %d goes on with the installed version", os.getpid())
    for handler in logging.getLogger().handlers:
        handler.flush()
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted
