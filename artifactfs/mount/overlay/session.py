"""What can be asked of the server of an overlay: to freeze, to verify that, and to thaw.

Used by the overlay's server.

Threading: each session in its own thread; they share a Freeze.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.errors import BusyError, MountError, UsageError
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.overlay.lingering import LINGERING_HINT
from artifactfs.mount.overlay.mounting import make_read_only, make_writable
from artifactfs.mount.overlay.writers import describe_removed, describe_writers, find_writers
from artifactfs.staging.layout import await_freeze_end

if TYPE_CHECKING:
    from artifactfs.mount.control import Message
    from artifactfs.staging.layout import Layout

RELEASE_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.02


class Freeze:
    """An overlay that is read-only while it is committed. Shared by threads.

    Unlike the union, the kernel does not let who begins to write wait: it gets EROFS.
    """

    def __init__(self, mountpoint: str, *, name: str) -> None:
        self._mountpoint = mountpoint
        self._name = name
        self._held = threading.Lock()

    def freeze(self, *, wait_seconds: float, asker: int = 0) -> None:
        """Make the overlay read-only, for the process `asker`.

        Raises:
            BusyError: files are open for writing, or removed and in use (named with their processes), or it is frozen
                already.
            MountError: it is gone.
        """
        if not self._held.acquire(blocking=False):
            msg = f"{self._name} is being committed already"
            raise BusyError(msg, hint="wait for the other commit")
        try:
            self._make_read_only(deadline=time.monotonic() + wait_seconds, asker=asker)
        except BaseException:
            self._held.release()
            raise

    def go_on(self, layout: Layout) -> None:
        """Thaw when a commit ends during which the overlay's last server was killed; before anything else."""
        self._held.acquire()

        def wait() -> None:
            await_freeze_end(layout)
            self.thaw()

        threading.Thread(target=wait, name="thaw", daemon=True).start()

    def verify(self) -> None:
        """Return if the overlay is read-only.

        Raises:
            MountError: it is not, or it is not mounted any more.
        """
        line = find_mount(self._mountpoint)
        if line is None or not line.is_overlay or not os.statvfs(self._mountpoint).f_flag & os.ST_RDONLY:
            msg = f"{self._name} is not frozen any more"
            raise MountError(msg)

    def thaw(self) -> None:
        """Let changes through again; only after `freeze`."""
        with suppress(OSError):  # unmounted meanwhile
            make_writable(self._mountpoint)
        self._held.release()

    def count_writers(self) -> int:
        """Return how many files are open for writing, as far as this user can see."""
        line = find_mount(self._mountpoint)
        return len(find_writers(line.device)) if line is not None else 0

    def _make_read_only(self, *, deadline: float, asker: int) -> None:
        while True:
            try:
                make_read_only(self._mountpoint)
            except OSError as error:
                if find_mount(self._mountpoint) is None:
                    msg = f"{self._name} was unmounted, and is still in use by who stood inside"
                    raise BusyError(msg, hint=LINGERING_HINT) from error
                if error.errno != errno.EBUSY:
                    msg = f"{self._name} cannot be made read-only: {error.strerror}"
                    raise MountError(msg) from error
                if time.monotonic() >= deadline:
                    raise self._busy(asker) from error
            else:
                return
            time.sleep(_PAUSE_SECONDS)

    def _busy(self, asker: int) -> BusyError:
        line = find_mount(self._mountpoint)
        writers = describe_writers(line.device, asker=asker) if line is not None else ""
        removed = describe_removed(line.device, asker=asker) if line is not None and not writers else ""
        if removed:
            msg = f"{self._name} has removed files or directories that are still in use: {removed}"
        else:
            msg = f"{self._name} has files open for writing: {writers or 'by processes that cannot be seen from here'}"
        return BusyError(msg, hint="let these processes close them, or use --wait")


class OverlaySession:
    """A connection that can keep an overlay read-only; changes go on when it ends, however it ends.

    Threading: one thread.
    """

    def __init__(self, freeze: Freeze) -> None:
        self._freeze = freeze
        self._is_frozen = False

    def handle(self, request: Message) -> Message:
        """Answer `info`, `freeze`, `verify`, `thaw` and `quota`."""
        match request["do"]:
            case "info":
                return {"pid": os.getpid(), "writers": self._freeze.count_writers()}
            case "freeze":
                wait_seconds = float(request.get("wait_seconds", RELEASE_SECONDS))
                self._freeze.freeze(wait_seconds=wait_seconds, asker=int(request.get("asker", 0)))
                self._is_frozen = True
                return {}
            case "verify":
                if not self._is_frozen:
                    msg = "the staging directory is not frozen"
                    raise MountError(msg)
                self._freeze.verify()
                return {}
            case "thaw":
                self.close()
                return {}
            case "quota":
                return {}  # the kernel writes
            case other:
                msg = f"a staging directory's server does not know {other!r}"
                raise UsageError(msg)

    def close(self) -> None:
        """Let changes through again."""
        if self._is_frozen:
            self._is_frozen = False
            self._freeze.thaw()
