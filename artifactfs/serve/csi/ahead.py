"""A server started ahead for the next staging directory: starting one takes most of the time of publishing it.

Used by `publishing` and `server`. Threading: one thread at a time; the caller holds a lock.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from artifactfs.mount.orders import STAGING
from artifactfs.mount.spare import start_spare

if TYPE_CHECKING:
    from artifactfs.mount.spare import Spare

_log = logging.getLogger(__name__)


class NextServer:
    """A spare server, and another one when that has been taken.

    Threading: see the module.
    """

    def __init__(self) -> None:
        """Start none yet."""
        self.spare: Spare | None = None

    def prepare(self) -> None:
        """Start one unless one waits. Where that fails, a server is started when it is needed."""
        if self.spare is not None and self.spare.is_waiting:
            return
        self.close()
        try:
            self.spare = start_spare(STAGING)
        except OSError as error:
            _log.warning("no server can be started ahead: %s", error)

    def close(self) -> None:
        """Let it end if it was not taken."""
        if self.spare is not None:
            self.spare.close()
            self.spare = None
