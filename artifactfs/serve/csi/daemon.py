"""The one mount that all volumes are bound from.

Used by `publishing` and `server`. Threading: one thread at a time; the caller holds a lock.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.mount.api import mount
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.registry import find_live

if TYPE_CHECKING:
    from artifactfs.mount.options import MountOptions, Places

_PATIENCE_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.02
_END_SECONDS: Final = 10.0
_log = logging.getLogger(__name__)


class OneMount:
    """A mount of the whole repository, made when there is none.

    Threading: see the module.
    """

    def __init__(self, places: Places, mountpoint: str, options: MountOptions) -> None:
        """Store where it is, and how it is made."""
        self._places = places
        self.mountpoint = os.path.realpath(mountpoint)
        self._options = options

    def is_up(self) -> bool:
        """Return whether it is mounted and has a server. Nothing is asked of the mount: it may hang."""
        line = find_mount(self.mountpoint)
        return line is not None and line.is_ours and find_live(self._places, self.mountpoint) is not None

    def _is_up_soon(self) -> bool:
        """Return whether it is up, after waiting for a server that is being started again."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self.is_up():
            if find_mount(self.mountpoint) is None or time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
        return True

    def _end_detached(self) -> None:
        """End a server whose mount was taken away: the binds of volumes, and those of pods, keep it going."""
        deadline = time.monotonic() + _END_SECONDS
        while find_mount(self.mountpoint) is None and time.monotonic() < deadline:
            info = find_live(self._places, self.mountpoint)
            if info is None:
                return
            with suppress(ProcessLookupError):
                os.kill(info.pid, signal.SIGTERM)
            time.sleep(_PAUSE_SECONDS)

    def ensure(self) -> bool:
        """Mount if it is not; return whether it was not.

        Raises:
            MountError: it cannot be mounted.
        """
        if self._is_up_soon():
            return False
        self._end_detached()
        _log.info("mounting on %s", self.mountpoint)
        mount(self._places, self.mountpoint, options=self._options)
        return True
