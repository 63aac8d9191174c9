"""What staging directories' servers come from: starting one afresh takes most of the time of publishing a volume.

Used by `publishing` and `server`. Threading: one thread at a time; the caller holds a lock.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from artifactfs.mount.forker import start_forker
from artifactfs.mount.orders import STAGING

if TYPE_CHECKING:
    from artifactfs.mount.forker import Forker

_log = logging.getLogger(__name__)


class Ahead:
    """A forker of servers, and another one when that is gone.

    Threading: see the module.
    """

    def __init__(self) -> None:
        """Start none yet."""
        self.forker: Forker | None = None

    def prepare(self) -> None:
        """Start one unless there is one. Where that fails, a server is started when it is needed."""
        if self.forker is not None and self.forker.is_waiting:
            return
        self.close()
        try:
            self.forker = start_forker(STAGING)
        except OSError as error:
            _log.warning("no server can be started ahead: %s", error)

    def close(self) -> None:
        """Let it end; servers go on."""
        if self.forker is not None:
            self.forker.close()
            self.forker = None
