"""Where the socket of a mount lies: in a small tmpfs under the runtime directory, bound read-only over `.artifactfs`.

It belongs to the mount point, and so outlives servers: whoever has bound it sees the next one's socket.

Used by `api`, `keeper`, the daemons at their end and `unmounting`. `show` looks into the mount, and so is not for a
process that serves it.

Threading: functions without state; several processes may call them at once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from artifactfs.mount.mountinfo import PORT_SOURCE, PORT_TYPE, find_mount
from artifactfs.mount.mountpoint import detach
from artifactfs.mount.registry import port_folder, prepare_folders
from artifactfs.mount.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    bind_mount,
    may_mount,
    mount_filesystem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.mount.options import Places

NAME: Final = ".artifactfs"
SOCKET: Final = "socket"
_FLAGS: Final = MS_NOSUID | MS_NODEV | MS_NOEXEC
_OPTIONS: Final = "mode=0755,size=64k,nr_inodes=16"
_LISTEN_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.005
_log = logging.getLogger(__name__)


def prepare(places: Places, mountpoint: str) -> str | None:
    """Return the tmpfs of a mount point, mounted if it was not; None where this process may not mount.

    Touches no mount of artifactfs.
    """
    if not may_mount():
        return None
    prepare_folders(places)
    folder = port_folder(places, mountpoint)
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    with _changing(folder):
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        if find_mount(folder) is None:
            mount_filesystem(PORT_SOURCE, folder, PORT_TYPE, _FLAGS, _OPTIONS)
    return folder


@contextmanager
def _changing(folder: str) -> Iterator[None]:
    """Let one process at a time make and remove such places: a second tmpfs would hide the socket in the first."""
    descriptor = os.open(os.path.dirname(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def show(places: Places, mountpoint: str) -> None:
    """Bind the tmpfs of a mount into the mount, and return when somebody listens there.

    What is there stays; that it cannot be done is noted in the log.
    """
    if find_mount(mountpoint) is None:
        return
    try:
        folder, target = prepare(places, mountpoint), os.path.join(mountpoint, NAME)
        if folder is not None and find_mount(target) is None:
            bind_read_only(folder, target)
            _await_listener(os.path.join(folder, SOCKET))
    except OSError as error:
        _log.warning("%s has no socket for containers: %s", mountpoint, error)
    if find_mount(mountpoint) is None:  # it was unmounted meanwhile
        remove(places, mountpoint)


def _await_listener(path: str) -> None:
    deadline = time.monotonic() + _LISTEN_SECONDS
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)


def bind_read_only(source: str, target: str) -> None:
    """Bind a tmpfs so that nobody who sees it there can remove the socket, or put another in its place.

    Raises:
        OSError: it cannot be bound.

    Source: mount(8), remounting a bind; connect(2) on a socket needs no writable mount (sb_permission in fs/namei.c).
    """
    bind_mount(source, target)
    mount_filesystem("none", target, "none", MS_REMOUNT | MS_BIND | MS_RDONLY | _FLAGS, "")


def remove(places: Places, mountpoint: str) -> None:
    """Take the tmpfs away, when its mount is gone."""
    folder = port_folder(places, mountpoint)
    with suppress(FileNotFoundError), _changing(folder):
        if find_mount(folder) is not None:
            detach(folder, lazy=True)
        with suppress(OSError):
            os.rmdir(folder)
