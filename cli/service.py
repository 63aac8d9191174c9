"""What a service manager put into the environment of this process.

Threading: the main thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from artifactfs.mount.service.manager import Manager

_NAMES = ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def find_manager(environ: MutableMapping[str, str], *, pid: int) -> Manager | None:
    """Return the service manager that started process `pid`; None when none did.

    What it put into the environment is taken out: it is meant for this process, not for those that it starts.

    Source: sd_notify(3), sd_listen_fds(3).
    """
    from artifactfs.mount.service.manager import Manager, parse_listening

    found = {name: environ.pop(name, "") for name in _NAMES}
    if not found["NOTIFY_SOCKET"]:
        return None
    kept = {}
    if found["LISTEN_PID"] == str(pid) and found["LISTEN_FDS"].isdecimal():
        kept = parse_listening(found["LISTEN_FDNAMES"], int(found["LISTEN_FDS"]))
    return Manager(address=found["NOTIFY_SOCKET"], kept=kept)
