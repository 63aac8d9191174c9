"""What can be asked of a supervisor through its control socket.

Threading: the supervisor's one thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from artifactfs._version import __version__
from artifactfs.errors import UsageError
from artifactfs.mount.kernel.figures import format_prometheus, take_figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.control import Message
    from artifactfs.mount.kernel.supervisor import Supervisor


class KernelSession:
    """A connection that can ask for figures, and for an upgrade.

    Threading: one thread.
    """

    def __init__(self, supervisor: Supervisor, upgrade: Callable[[], None]) -> None:
        """Store whom to ask; `upgrade` checks and then does not return."""
        self._supervisor = supervisor
        self._upgrade = upgrade

    def handle(self, request: Message) -> Message:
        """Answer `info`, `figures`, `metrics` and `upgrade`."""
        match request["do"]:
            case "info":
                return {"pid": os.getpid(), "version": __version__}
            case "figures":
                return {"figures": take_figures(self._supervisor)}
            case "metrics":
                return {"text": format_prometheus(self._supervisor)}
            case "upgrade":
                self._supervisor.call_soon(self._upgrade)
                return {"pid": os.getpid(), "version": __version__}
            case other:
                msg = f"the server of this mount does not know {other!r}"
                raise UsageError(msg)

    def close(self) -> None:
        """Hold nothing."""
