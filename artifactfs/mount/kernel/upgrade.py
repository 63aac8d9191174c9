"""Replacing a running supervisor by the installed version, by exec: same process, same descriptor, no unmount.

What must go on is written to a memfd and found again by its number. Workers serve during all of it; the new
supervisor ends them when its own do.

Threading: one thread. Source: execve(2).
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from artifactfs.errors import MountError
from artifactfs.mount.kernel.settings import Handover, store_handover

if TYPE_CHECKING:
    from artifactfs.mount.kernel.supervisor import Supervisor

_log = logging.getLogger(__name__)
CHECK_SECONDS: Final = 20.0


def check_installed(module: str) -> None:
    """Return when the installed version starts; otherwise it would end the mount.

    Raises:
        MountError: it does not.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, "--check"], capture_output=True, timeout=CHECK_SECONDS, check=False
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it ends at once"]
        msg = f"the installed version does not start: {reason[0]}"
        raise MountError(msg, hint="the mount goes on with the version that serves it")


def upgrade(supervisor: Supervisor, *, module: str, started_ns: int, keep: tuple[int, ...] = (),
            extra: dict[str, str] | None = None) -> NoReturn:  # fmt: skip
    """Replace this process's program by the installed version. Does not return.

    Args:
        supervisor: what serves now.
        module: what is run, with `--resume N`.
        started_ns: when the mount came up.
        keep: descriptors besides those of the mount that the new program needs.
        extra: what the daemon around wants to find again.

    Raises:
        MountError: the installed version does not start; nothing has changed.
    """
    check_installed(module)
    mounted = supervisor.mounted
    handover = Handover(
        mounted.settings,
        mounted.agreed,
        mounted.device,
        mounted.counters.descriptor,
        mounted.backings.descriptor,
        tuple(supervisor.children),
        supervisor.restarts,
        started_ns,
        extra or {},
    )
    descriptor = store_handover(handover)
    for number in (descriptor, mounted.device, mounted.counters.descriptor, mounted.backings.descriptor, *keep):
        os.set_inheritable(number, True)  # noqa: FBT003 - the only way to say it
    _log.info("upgrading: process %d runs the installed version from here", os.getpid())
    logging.shutdown()
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, "--resume", str(descriptor)])
