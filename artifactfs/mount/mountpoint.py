"""Mount points: whether one can be used, clearing dead mounts, unmounting.

A dead mount is one whose server is gone: every call on it fails with ENOTCONN. mount(2) over it would stack a
second mount on top, so it is unmounted first.

Used by `api`, `launch` and `staging_mounts`. Never by a process that serves a mount: these functions look into it.

Threading: functions without state.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from artifactfs.errors import BusyError, MountError
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.syscalls import may_mount, unmount_by_helper, unmount_privileged
from artifactfs.mount.users import describe_users, iter_users
from artifactfs.paths import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEAD: Final = frozenset({errno.ENOTCONN, errno.ECONNABORTED})
_STACK_LIMIT: Final = 16
_BUSY: Final = "busy"
_SETTLE_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.02


def resolve_mountpoint(path: str) -> str:
    """Return the absolute path of a mount point, without asking what is mounted there: it may hang."""
    above, name = os.path.split(os.path.abspath(path))
    direct = os.path.join(os.path.realpath(above), name)
    return direct if find_mount(direct) is not None else os.path.realpath(path)


def is_dead(path: str) -> bool:
    """Return whether what is mounted on `path` has lost its server.

    stat(2) alone is not enough: with long attribute timeouts the kernel answers it for a dead mount too. statvfs(3)
    is never answered from a cache.

    Source: measured on Linux 6.18: both give ENOTCONN without a server; `os.path.ismount` says True.
    """
    if find_mount(path) is None:
        return False
    try:
        os.stat(path)
        os.statvfs(path)
    except OSError as error:
        return error.errno in _DEAD
    return False


def clear_dead(path: str) -> bool:
    """Unmount the dead mounts that lie on `path`; return whether there were any.

    Raises:
        MountError: the system refuses.
    """
    for count in range(_STACK_LIMIT):
        if not is_dead(path):
            return count > 0
        detach(path, lazy=True)
    msg = f"more than {_STACK_LIMIT} dead mounts lie on {_shown(path)}"
    raise MountError(msg, hint=f"run: umount -l {_shown(path)}", subject=path)


def make_mountpoint(path: str) -> None:
    """Make a mount point that is missing.

    Raises:
        MountError: it cannot be made.
    """
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
    except OSError as error:
        msg = f"the mount point {_shown(path)} cannot be made: {error.strerror}"
        raise MountError(msg, subject=path) from error


def check_mountpoint(path: str, *, repository: str, others: Sequence[str] = ()) -> None:
    """Return if a file system can be mounted on `path`; `others` are directories that its server needs as well.

    Raises:
        MountError: it is missing, no directory, not empty, taken, inside the repository, or would hide what is needed.
    """
    shown = _shown(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        msg = f"the mount point {shown} does not exist"
        raise MountError(msg, hint=f"make it with: mkdir -p {shown}", subject=path) from None
    except OSError as error:
        msg = f"the mount point {shown} cannot be used: {error.strerror}"
        raise MountError(msg, subject=path) from error
    if not stat.S_ISDIR(status.st_mode):
        msg = f"the mount point {shown} is not a directory"
        raise MountError(msg, hint="name an empty directory", subject=path)
    _check_not_taken(path, shown)
    _check_apart(path, shown, os.path.realpath(repository))
    _check_empty(path, shown)
    for other in others:
        _check_not_hidden(path, shown, os.path.realpath(other))


def _check_not_taken(path: str, shown: str) -> None:
    line = find_mount(path)
    if line is None:
        return
    if line.is_ours:
        msg = f"an artifactfs is already mounted on {shown}"
        raise MountError(msg, hint=f"use it, or run: artifactfs umount {shown}", subject=path)
    msg = f"{line.source} ({line.fstype}) is mounted on {shown}"
    raise MountError(msg, hint="name a directory inside it, or another one", subject=path)


def _check_apart(path: str, shown: str, repository: str) -> None:
    if path == repository or path.startswith(repository + "/"):
        msg = f"the mount point {shown} is inside the repository {_shown(repository)}"
        raise MountError(msg, hint="name a directory outside of it", subject=path)
    if repository.startswith(path.rstrip("/") + "/"):
        msg = f"the mount point {shown} would hide the repository {_shown(repository)}"
        raise MountError(msg, hint="name a directory beside it", subject=path)


def _check_not_hidden(path: str, shown: str, needed: str) -> None:
    if needed == path or needed.startswith(path.rstrip("/") + "/"):
        msg = f"the mount point {shown} would hide {_shown(needed)}, which its server needs"
        raise MountError(msg, hint="name a directory beside it", subject=path)


def _check_empty(path: str, shown: str) -> None:
    try:
        names = os.listdir(path)
    except OSError as error:
        msg = f"the mount point {shown} cannot be listed: {error.strerror}"
        raise MountError(msg, subject=path) from error
    if names:
        msg = f"the mount point {shown} is not empty: it holds {printable(os.fsencode(sorted(names)[0]))}"
        raise MountError(msg, hint="name an empty directory; what is there would be hidden", subject=path)


def detach(path: str, *, lazy: bool) -> None:
    """Unmount what is topmost on `path`.

    Raises:
        BusyError: a process uses it, named in the message (not with `lazy`).
        MountError: the system refuses for another reason.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        reason = _try_detach(path, lazy=lazy)
        if not reason or find_mount(path) is None:
            return  # also when somebody else was faster
        if reason != _BUSY:
            break
        # Who has just left, or what was unmounted inside, may be held by the kernel for a moment longer.
        if time.monotonic() > deadline or next(iter_users(path), None) is not None:
            raise busy_error(path)
        time.sleep(_PAUSE_SECONDS)
    msg = f"{_shown(path)} cannot be unmounted: {reason}"
    raise MountError(msg, subject=path)


def _try_detach(path: str, *, lazy: bool) -> str:
    """Return why a mount cannot be unmounted; "" when it was."""
    if may_mount():
        try:
            unmount_privileged(path, lazy=lazy)
        except OSError as error:
            return _BUSY if error.errno == errno.EBUSY else os.strerror(error.errno or errno.EIO)
        return ""
    try:
        said = unmount_by_helper(path, lazy=lazy)
    except FileNotFoundError:
        return "fusermount3 is not installed"
    return _BUSY if "busy" in said else said


def busy_error(path: str) -> BusyError:
    """Return the error that says who uses the mount on `path`."""
    users = describe_users(path)
    by = f" by {users}" if users else ""
    return BusyError(
        f"{_shown(path)} is in use{by}",
        hint="let these processes leave it, or use --lazy",
        subject=path,
    )


def _shown(path: str) -> str:
    return printable(os.fsencode(path))
