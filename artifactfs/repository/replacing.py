"""Putting a finished directory in the place of another, unless that is needed, and removing the other.

Used by checkout. Threading: pure functions on the file system.

Source: renameat2(2) with RENAME_EXCHANGE.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
from typing import TYPE_CHECKING, Final

from artifactfs.errors import UsageError
from artifactfs.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

AT_FDCWD: Final = -100
RENAME_EXCHANGE: Final = 2


def check_replaceable(target: bytes, needed: Iterable[tuple[str, bytes]]) -> None:
    """Return if a path may be replaced: nothing that is needed lies at it or below.

    Args:
        target: an absolute path without links.
        needed: what it is called, and where it is; links in these paths are followed.

    Raises:
        UsageError: something that is needed would go.
    """
    for name, path in needed:
        place = os.path.realpath(path)
        if place == target or place.startswith(os.path.join(target, b"")):
            shown = printable(target)
            msg = f"{shown} is not replaced: {name} is there"
            raise UsageError(msg, hint="name a directory of its own", subject=shown)
    # Of files nothing can be told: on overlayfs those of the version below have another device than their directory.
    if os.path.isdir(target) and os.path.ismount(target):
        shown = printable(target)
        msg = f"{shown} is not replaced: something is mounted there"
        raise UsageError(msg, hint="name a directory in it", subject=shown)


def exchange(new: bytes, old: bytes) -> None:
    """Swap two paths of one file system: in one step where the system can, else in two renames.

    In the second case a crash between the two leaves nothing at `old`, and both directories beside it.

    Raises:
        OSError: nothing was swapped.
    """
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None, use_errno=True)
        if library.renameat2(AT_FDCWD, new, AT_FDCWD, old, RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(code, os.strerror(code))
    aside = new + b".old"
    os.rename(old, aside)
    os.rename(new, old)
    os.rename(aside, new)


def remove_tree(path: bytes) -> None:
    """Remove whatever is at a path, read-only directories included; nothing being there is no error.

    Raises:
        OSError: some of it could not be removed.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(path)
        return
    _make_removable(path)
    shutil.rmtree(path)


def _make_removable(path: bytes) -> None:
    """Let the owner write in all directories below."""
    waiting = [path]
    while waiting:
        directory = waiting.pop()
        if os.lstat(directory).st_mode & 0o700 != 0o700:
            os.chmod(directory, 0o700)
        with os.scandir(directory) as entries:
            waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
