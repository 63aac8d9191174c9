"""Quotas that the file system itself keeps: a project for a staging directory, and a limit for the project.

ext4 and XFS count what belongs to a project; a directory gives its project to whatever is made in it. So one limit
holds for the upper directory and the directories beside it in which files are made, whatever writes there.

Used by `quota`. Threading: functions without state.

Source: ioctl_xfs_fsgetxattr(2), FS_XFLAG_PROJINHERIT in linux/fs.h; quotactl(2), struct if_dqblk in linux/quota.h;
struct fs_quota_stat in linux/dqblk_xfs.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from artifactfs.staging.files import iter_below

if TYPE_CHECKING:
    from collections.abc import Iterator

_FSXATTR: Final = struct.Struct("5I8x")
_GET_ATTRIBUTES: Final = 0x801C581F
_SET_ATTRIBUTES: Final = 0x401C5820
_INHERIT: Final = 0x200
_LIMITS: Final = struct.Struct("8QI4x")
_LIMITS_VALID: Final = 1
_BLOCK: Final = 1024
"""Limits are in such blocks, use is in bytes."""
_PROJECT: Final = 2
_GET_QUOTA, _SET_QUOTA, _GET_STATE = 0x800007, 0x800008, 0x5805
_STATE_SIZE: Final = 256
_STATE_FLAGS: Final = struct.Struct("=bxH")
_ENFORCED: Final = 1 << 5
_FIRST_ID, _ID_COUNT = 1 << 24, 1 << 24
_TRIES: Final = 16


def begin_project(directory: bytes, quota: int) -> int | None:
    """Give a directory a project of its own with a limit, and return its number; None where that cannot be done.

    All that is in it gets the project, too: each directory before it is looked into, so that what is made meanwhile
    inherits it.

    Args:
        directory: its path.
        quota: bytes.
    """
    device = find_device(directory)
    if device is None or not _is_enforced(device):
        return None
    with suppress(OSError):
        project = _find_free(device)
        if project is not None:
            _set_project(directory, project)
            for path, is_directory in iter_below(directory):
                with suppress(FileNotFoundError):
                    if is_directory or stat.S_ISREG(os.lstat(path).st_mode):  # the ioctl takes nothing else
                        _set_project(path, project, may_inherit=is_directory)
            _set_limit(device, project, quota)
            return project
    return None


def set_limit(directory: bytes, project: int, quota: int | None) -> None:
    """Give a project another limit, or none; where the file system is mounted without quotas it has none anyway."""
    device = find_device(directory)
    if device is not None and _is_enforced(device):
        _set_limit(device, project, quota or 0)


def end_project(directory: bytes, project: int) -> None:
    """Take the limit of a project away."""
    device = find_device(directory)
    if device is not None:
        with suppress(OSError):
            _set_limit(device, project, 0)


def read_used(directory: bytes, project: int) -> int:
    """Return the bytes that a project occupies.

    Raises:
        OSError: the file system does not say.
    """
    device = find_device(directory)
    if device is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return int(_get_limits(device, project)[2])


def is_limited(directory: bytes, project: int, quota: int) -> bool:
    """Return whether the file system keeps a project below a limit now: it may be mounted without quotas this time."""
    device = find_device(directory)
    try:
        if device is None or not _is_enforced(device) or _get_project(directory) != project:
            return False
        return int(_get_limits(device, project)[0]) == _blocks(quota)
    except OSError:
        return False


def find_device(path: bytes) -> bytes | None:
    """Return the block device of a file system; None when it has none."""
    number = os.stat(path).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(b" - ")
        source = after.split(b" ")[1]
        if before.split(b" ")[2].decode() == wanted and source.startswith(b"/dev/"):
            return source if os.path.exists(source) else os.path.realpath(f"/dev/block/{wanted}".encode())
    return None


def _is_enforced(device: bytes) -> bool:
    state = bytearray(_STATE_SIZE)
    state[0] = 1  # the version of the struct
    try:
        _quotactl(_GET_STATE, device, 0, state)
    except OSError:
        return False
    return bool(_STATE_FLAGS.unpack_from(state)[1] & _ENFORCED)


def _find_free(device: bytes) -> int | None:
    for _ in range(_TRIES):
        project = _FIRST_ID + int.from_bytes(os.urandom(4), "big") % _ID_COUNT
        try:
            limits = _get_limits(device, project)
        except OSError:
            return project  # ENOENT: nothing is known of it
        if not any(limits[:6]):
            return project
    return None


def _get_limits(device: bytes, project: int) -> tuple[int, ...]:
    data = bytearray(_LIMITS.size)
    _quotactl(_GET_QUOTA, device, project, data)
    return _LIMITS.unpack(data)


def _set_limit(device: bytes, project: int, quota: int) -> None:
    data = bytearray(_LIMITS.pack(_blocks(quota), _blocks(quota), 0, 0, 0, 0, 0, 0, _LIMITS_VALID))
    _quotactl(_SET_QUOTA, device, project, data)


def _blocks(quota: int) -> int:
    return -(-quota // _BLOCK)


def _get_project(directory: bytes) -> int:
    with _opened(directory) as descriptor:
        data = bytearray(_FSXATTR.size)
        fcntl.ioctl(descriptor, _GET_ATTRIBUTES, data)
        return int(_FSXATTR.unpack(data)[3])


def _set_project(path: bytes, project: int, *, may_inherit: bool = True) -> None:
    with _opened(path) as descriptor:
        data = bytearray(_FSXATTR.size)
        fcntl.ioctl(descriptor, _GET_ATTRIBUTES, data)
        flags, extent, extents, _, cow = _FSXATTR.unpack(data)
        flags |= _INHERIT if may_inherit else 0
        fcntl.ioctl(descriptor, _SET_ATTRIBUTES, _FSXATTR.pack(flags, extent, extents, project, cow))


@contextmanager
def _opened(path: bytes) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _quotactl(command: int, device: bytes, project: int, data: bytearray) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "quotactl"):
        raise OSError(0, "no quotas here")
    buffer = (ctypes.c_char * len(data)).from_buffer(data)
    whole = ctypes.c_int((command << 8) | _PROJECT)
    if library.quotactl(whole, ctypes.c_char_p(device), ctypes.c_int(project), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
