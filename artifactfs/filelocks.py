"""Asking whether somebody holds a lock on a file, without waiting for it.

Used where locks are held for as long as a process lives. Threading: a function without state. Source: flock(2).
"""

from __future__ import annotations

import fcntl
import os


def is_locked(path: str | bytes, kind: int, *, flags: int = os.O_RDWR) -> bool:
    """Return whether a lock of a kind could not be had now; False where there is no such file.

    Not for often: for that moment the lock is held, which others may meet.

    Args:
        path: the file or directory.
        kind: `fcntl.LOCK_SH` to find who holds it alone, `fcntl.LOCK_EX` to find anybody.
        flags: how it is opened.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
