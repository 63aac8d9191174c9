"""The notifier: a process that tells the kernel what to forget, and does nothing else.

A notification can wait in the kernel for a request that is under way, for good if nobody answers that request. So
neither a worker nor the supervisor ever sends one (but for RESEND, which does not wait).

An alias has moved: its target is read from the log by every worker, so by the time a record is seen here all
workers answer with the new state, and INVAL_INODE on the symbolic link makes the kernel ask. A name has come or
gone: EXPIRE_ONLY on the name, INVAL_INODE on its directory, whose listing is cached too.

Threading: one thread in a process of its own.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError, IndexCorruptError
from artifactfs.mount.kernel import shared
from artifactfs.mount.kernel.notifications import encode_expire_entry, encode_inval_inode
from artifactfs.mount.kernel.renewal import DamagedError
from artifactfs.mount.kernel.watching import Watcher

if TYPE_CHECKING:
    from artifactfs.mount.kernel.source import Change, ChangeSource

_log = logging.getLogger(__name__)
POLL_SECONDS: Final = 0.05
"""How often to look where inotify does not cover everything."""
CHECK_SECONDS: Final = 5.0
"""How often to look although inotify has said nothing: a network disk tells nothing of other machines."""
_UNKNOWN: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
"""The kernel does not know the node or name: it will ask anyway."""


class Notifier:
    """Sends notifications for one mount.

    Threading: one thread.
    """

    def __init__(
        self, device: int, changes: ChangeSource, *, row: memoryview, expires: bool, may_renew: bool = False
    ) -> None:
        """Store the device, what knows of changes, and the row of the shared counters.

        `expires` is whether the kernel knows EXPIRE_ONLY: an older one would detach what is mounted below a name.
        With `may_renew` a damaged epoch ends `run` by `DamagedError`.
        """
        self._may_renew = may_renew
        self._expires = expires
        self._device = device
        self._changes = changes
        self._row = row
        self._watcher = Watcher()
        self._said: set[str] = set()

    def run(self) -> None:
        """Watch and notify until the mount ends."""
        try:
            self._watcher.open()
        except OSError as error:
            _log.warning("inotify cannot be used (%s); changes are looked for every %g s", error, POLL_SECONDS)
        while self._look():
            complete, grown = self._watcher.watch(self._find_directories())
            if not grown:  # else look again: something may have happened before the new watch was set
                self._watcher.wait(CHECK_SECONDS if complete else POLL_SECONDS)
        self._watcher.close()

    def _find_directories(self) -> list[str]:
        try:
            return self._changes.watched_directories()
        except (ArtifactFSError, OSError) as error:
            self._say(f"changes are not watched for: {error}")
            return []

    def _say(self, text: str) -> None:
        if text not in self._said:
            _log.error("%s", text)
            self._said.add(text)

    def _look(self) -> bool:
        """Send what has changed; return False when the mount has ended."""
        try:
            changes = self._changes.find_changes()
        except (ArtifactFSError, OSError) as error:
            self._say(f"changes cannot be read: {error}")
            if self._may_renew and isinstance(error, IndexCorruptError):
                raise DamagedError from error
            return True
        self._said.clear()
        return all(self._send(change) for change in changes)

    def _send(self, change: Change) -> bool:
        names = change.names if self._expires else ()
        messages = [encode_expire_entry(change.node, name) for name in names]
        messages.append(encode_inval_inode(change.node))
        self._row[shared.NODE], self._row[shared.BUSY_SINCE] = change.node, time.monotonic_ns()
        try:
            return all(self._write(message) for message in messages)
        finally:
            self._row[shared.BUSY_SINCE] = 0
            self._row[shared.BY_OPCODE] += 1

    def _write(self, message: bytes) -> bool:
        try:
            os.write(self._device, message)
        except OSError as error:
            if error.errno in {errno.ENODEV, errno.ECONNABORTED}:
                return False
            if error.errno not in _UNKNOWN:
                _log.warning("a notification was refused: %s", error)
        return True
