"""What other processes are told of an outage: a file for each that shows what was last known, locked meanwhile.

The kernel gives the lock of a killed process back, so nothing is told of those that are gone.

Used by `outage.py`, and by what lists mounts. Threading: an OutageNotice belongs to whoever holds its Outage's guard.

Source: flock(2).
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from typing import Final

_log = logging.getLogger(__name__)

FOLDER: Final = "outages"
"""In the repository's directory on this machine."""


class OutageNotice:
    """Says that this process shows what was last known. Not shared by threads.

    Args:
        state_directory: of the repository on this machine.
    """

    def __init__(self, state_directory: str) -> None:
        self._folder = os.path.join(state_directory, FOLDER)
        self._path = ""
        self._descriptor = -1

    def begin(self, since_ns: int) -> None:
        """Say since when. What cannot be written is logged: nobody depends on it."""
        self.end()
        self._path = os.path.join(self._folder, f"{os.getpid()}-{os.urandom(4).hex()}")
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.write(self._descriptor, b"%d" % since_ns)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._path, error.strerror)

    def end(self) -> None:
        """Say it no more."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            os.unlink(self._path)
        os.close(self._descriptor)
        self._descriptor = -1


def find_outage_ns(state_directory: str) -> int | None:
    """Return since when a process of this user shows what was last known of a repository; None when none does."""
    folder = os.path.join(state_directory, FOLDER)
    found: list[int] = []
    with suppress(OSError):
        for name in os.listdir(folder):
            found += _read(os.path.join(folder, name))
    return min(found, default=None)


def _read(path: str) -> list[int]:
    """Return what a file says; nothing of one whose process is gone, which is removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return []
    try:
        text = os.read(descriptor, 32)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return [int(text)] if text.isdigit() else []
    except OSError:
        return []
    else:
        if text:  # else it is being written now
            with suppress(OSError):
                os.unlink(path)
        return []
    finally:
        os.close(descriptor)
