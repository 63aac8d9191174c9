"""Binding a directory of a mount over a directory elsewhere, and taking it away; both can be repeated.

Used by `serve`. Threading: one thread at a time for a target. Source: mount(2), MS_BIND; mount(8), "bind mounts".
"""

from __future__ import annotations

import errno
import os

from artifactfs.errors import ConflictError, MountError
from artifactfs.mount.mountinfo import MountLine, find_mount, read_mounts
from artifactfs.mount.mountpoint import detach
from artifactfs.mount.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    bind_mount,
    mount_filesystem,
)

_STACK_LIMIT = 64


def bind_volume(source: str, target: str, *, is_read_only: bool, is_noexec: bool) -> None:
    """Show the directory `source` at `target`, which is made if it is missing. What is right already stays.

    Raises:
        ConflictError: something else is mounted on `target`.
        MountError: it cannot be bound.
    """
    path = os.path.join(os.path.realpath(os.path.dirname(target)), os.path.basename(target))
    line = find_mount(path)
    if line is not None and _shows(line, source):
        return
    if line is not None and not line.is_ours:
        msg = f"{line.source} ({line.fstype}) is mounted on {path}"
        raise ConflictError(msg, subject=path)
    unbind(path, keeps_directory=True)
    try:
        os.makedirs(path, mode=0o750, exist_ok=True)
        bind_mount(source, path)
        flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV
        flags |= (MS_RDONLY if is_read_only else 0) | (MS_NOEXEC if is_noexec else 0)
        mount_filesystem("none", path, "none", flags, "")
    except OSError as error:
        unbind(path, keeps_directory=True)
        msg = f"{source} cannot be bound to {path}: {error.strerror}"
        raise MountError(msg, hint="artifactfs mounts says whether the mount is up", subject=path) from error


def _shows(line: MountLine, source: str) -> bool:
    """Return whether a mount shows a directory, without looking into either: same file system, same place in it."""
    above = _containing(source)
    if above is None or above.device != line.device:
        return False
    below = os.path.relpath(source, above.mountpoint)
    root = above.root if below == "." else os.path.join(above.root, below)
    return line.root == root


def _containing(path: str) -> MountLine | None:
    """Return the mount that a path lies on."""
    best: MountLine | None = None
    for line in read_mounts():
        inside = (path + "/").startswith(line.mountpoint.rstrip("/") + "/")
        if inside and (best is None or len(line.mountpoint) >= len(best.mountpoint)):
            best = line
    return best


def unbind(target: str, *, keeps_directory: bool = False) -> None:
    """Take away what is bound over `target`, and the directory. What is not there is no error.

    Who has files of it open keeps them: a pod that is being ended must not hold its node up.

    Raises:
        MountError: the directory is not empty, or something else is mounted there.
    """
    path = os.path.join(os.path.realpath(os.path.dirname(target)), os.path.basename(target))
    for _ in range(_STACK_LIMIT):
        line = find_mount(path)
        if line is None:
            break
        if not line.is_ours:
            msg = f"{line.source} ({line.fstype}) is mounted on {path}, which is not ours to unmount"
            raise MountError(msg, subject=path)
        detach(path, lazy=True)
    if keeps_directory:
        return
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            msg = f"{path} cannot be removed: {error.strerror}"
            raise MountError(msg, subject=path) from error
