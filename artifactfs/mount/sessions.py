"""What can be asked of a staging directory's server: to freeze, to verify that, to thaw, and to keep another quota.

Used by `building`.

Threading: each session in its own thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from artifactfs.errors import MountError, UsageError
from artifactfs.mount.control import Message
from artifactfs.vfs.union.gate import RELEASE_SECONDS, Gate


class FreezeSession:
    """A connection that can hold all changes; they go on when it ends, however it ends.

    Threading: one thread.
    """

    def __init__(self, gate: Gate, limit: Callable[[int | None], None]) -> None:
        """Store the gate, and what sets the quota."""
        self._gate = gate
        self._limit = limit
        self._is_frozen = False

    def handle(self, request: Message) -> Message:
        """Answer `info`, `freeze`, `verify`, `thaw` and `quota`."""
        match request["do"]:
            case "info":
                return {"pid": os.getpid(), "writers": len(self._gate.writers())}
            case "freeze":
                self._gate.freeze(wait_seconds=float(request.get("wait_seconds", RELEASE_SECONDS)))
                self._is_frozen = True
                return {}
            case "verify":
                if not self._is_frozen:
                    msg = "the staging directory is not frozen"
                    raise MountError(msg)
                return {}
            case "thaw":
                self.close()
                return {}
            case "quota":
                self._limit(request.get("quota"))
                return {}
            case other:
                msg = f"a staging directory's server does not know {other!r}"
                raise UsageError(msg)

    def close(self) -> None:
        """Let changes through again."""
        if self._is_frozen:
            self._is_frozen = False
            self._gate.thaw()
