"""Making new files, directories and links with the owner that the same call on a local disk gives.

What is made belongs to whoever asks, where this process may give it away, and to the group of a directory with the
setgid bit, which a new directory inherits.

Used by the union. Threading: pure functions on the file system.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple

_KEPT_MODE = 0o7777


class Caller(NamedTuple):
    """Who asks: process, user and group."""

    pid: int
    uid: int
    gid: int


def make_file(at: bytes, above: bytes, caller: Caller) -> None:
    """Make an empty file that only its owner may open; `finish` sets its permission bits.

    Args:
        at: where.
        above: the directory that it will stand in.
        caller: whose it becomes.
    """
    os.close(os.open(at, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _give(at, above, caller)


def make_directory(at: bytes, above: bytes, caller: Caller) -> None:
    """Make a directory that only its owner may use; `finish_directory` sets its permission bits."""
    os.mkdir(at, 0o700)
    _give(at, above, caller)


def make_symlink(at: bytes, above: bytes, caller: Caller, *, target: bytes) -> None:
    """Make a symbolic link."""
    os.symlink(target, at)
    _give(at, above, caller)


def finish_file(descriptor: int, mode: int) -> None:
    """Set the permission bits of a new file."""
    os.fchmod(descriptor, mode & _KEPT_MODE)


def finish_directory(path: bytes, mode: int) -> None:
    """Set the permission bits of a new directory."""
    inherited = os.lstat(os.path.dirname(path) or b".").st_mode & stat.S_ISGID
    os.chmod(path, mode & _KEPT_MODE | inherited)


def _give(at: bytes, above: bytes, caller: Caller) -> None:
    directory = os.lstat(above)
    gid = directory.st_gid if directory.st_mode & stat.S_ISGID else caller.gid
    made = os.lstat(at)
    if (made.st_uid, made.st_gid) != (caller.uid, gid):
        # Only root may give files away; an ordinary user's mount has one user anyway.
        with suppress(PermissionError):
            os.chown(at, caller.uid, gid, follow_symlinks=False)
