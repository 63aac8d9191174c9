"""The mount that a server has made: told from any other at the same place, so that no other is ever taken away.

Used by the daemon. Nothing here looks into a mount. Threading: one thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from artifactfs.errors import BusyError
from artifactfs.mount.kernel.mounting import MountRequest, open_mount
from artifactfs.mount.mountinfo import find_mount, is_mounted
from artifactfs.mount.mountpoint import detach

if TYPE_CHECKING:
    from collections.abc import Callable

LEAVE_SECONDS: Final = 3.0
"""A server that has been unmounted for so long, and has not ended, serves those who are still inside."""
_LOOK_SECONDS: Final = 1.0


class OwnMount:
    """A place, and the file system that this server has mounted there, if any.

    Threading: one thread.
    """

    def __init__(self, mountpoint: str, *, now: Callable[[], float] = time.monotonic) -> None:
        """Store the place, where nothing is mounted yet, and a clock."""
        self._mountpoint = mountpoint
        self._now = now
        self._device = ""
        self._seen = 0.0
        self._looked = 0.0
        self.is_left = False
        """Whether the place was left to others."""

    def open(self, request: MountRequest, *, may_cover: bool = False) -> int:
        """Mount, and return the descriptor. For whoever holds the slot of the place.

        `may_cover` is whether what lies there already is covered: it is dead, and nobody else's.

        Raises:
            BusyError: something was mounted there since the place was looked at.
            MountError: as `open_mount`.
        """
        if not may_cover and find_mount(self._mountpoint) is not None:
            msg = f"something else was mounted on {self._mountpoint} meanwhile"
            raise BusyError(msg, hint="run: artifactfs mounts", subject=self._mountpoint)
        descriptor = open_mount(request)
        self.find()
        return descriptor

    def find(self) -> None:
        """Take what is mounted there now as the own mount."""
        line = find_mount(self._mountpoint)
        self._device = "" if line is None else line.device
        self._seen = self._now()

    def has_to_leave(self) -> bool:
        """Return whether it is time to leave the place to others, once: the mount is gone from it, and is still used.

        By processes that were inside when it was lazily unmounted, or in another mount namespace.
        """
        now = self._now()
        if self.is_left or not self._device or now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        if is_mounted(self._mountpoint, self._device):
            self._seen = now
        self.is_left = now - self._seen > LEAVE_SECONDS
        return self.is_left

    def detach(self) -> None:
        """Unmount it, unless it is gone; what lies in its place, or over it, stays."""
        line = find_mount(self._mountpoint)
        if line is not None and line.is_ours and line.device == self._device:
            detach(self._mountpoint, lazy=True)
