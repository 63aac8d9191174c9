"""Removing the scratch of killed restores from a staging directory in which others work.

Whoever may write there can put something else under any name meanwhile, and this may run as root for somebody else. So
each step is made from a descriptor, and no link is followed.

Used by the command line, and by the socket in a mount, after a commit. Threading: functions without state.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from artifactfs.staging.layout import SCRATCH

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCRATCH = re.compile(re.escape(SCRATCH) + rb"[0-9]+")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def sweep_scratch(top: bytes, paths: Iterable[bytes]) -> None:
    """Remove scratch directories that no restore holds; one that cannot be removed stays.

    Args:
        top: where the staging directory is mounted.
        paths: entry paths of scratch, as a commit has met it.
    """
    for path in paths:
        with suppress(OSError, RecursionError), ExitStack() as stack:
            *above, name = path.split(b"/")
            if _SCRATCH.fullmatch(name) is None:
                continue
            directory = _open(stack, top, None)
            for each in above:
                directory = _open(stack, each, directory)
            _sweep(directory, name)


def _open(stack: ExitStack, path: bytes, directory: int | None, flags: int = _DIRECTORY) -> int:
    descriptor = os.open(path, flags, dir_fd=directory)
    stack.callback(os.close, descriptor)
    return descriptor


def _sweep(directory: int, name: bytes) -> None:
    times = os.fstat(directory)
    with ExitStack() as stack:
        fcntl.flock(_open(stack, name, directory), fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(directory, name)
    os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))


def _remove(directory: int, name: bytes) -> None:
    """Remove what has a name in a directory, with all that is in it."""
    with suppress(IsADirectoryError):
        os.unlink(name, dir_fd=directory)
        return
    with ExitStack() as stack:
        # Its owner may have taken away his own right to look into it.
        with suppress(PermissionError):
            os.chmod(b"/proc/self/fd/%d" % _open(stack, name, directory, os.O_PATH | _DIRECTORY), 0o700)
        below = _open(stack, name, directory)
        for each in os.listdir(below):
            _remove(below, os.fsencode(each))
    os.rmdir(name, dir_fd=directory)
