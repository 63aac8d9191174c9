"""Calls on the FUSE device beyond read and write: clones, and backing files for passthrough.

Threading: functions without state.
Source: linux/fuse.h, "Device ioctls"; fs/fuse/dev.c and backing.c.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

from artifactfs.mount.kernel.codes import BACKING_CLOSE, BACKING_OPEN, DEVICE_CLONE
from artifactfs.mount.kernel.mounting import DEVICE
from artifactfs.mount.kernel.structures import BACKING_MAP

_NUMBER = struct.Struct("=I")
_REFUSED: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ELOOP, errno.ENOSYS})


def clone_device(descriptor: int) -> int:
    """Return a descriptor of the same connection with a queue of its own.

    When its last holder dies, the requests that it had taken end with an error instead of waiting for ever: that
    is what a kernel without RESEND is given.

    Source: FUSE_DEV_IOC_CLONE (Linux 4.2).
    """
    clone = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(clone, DEVICE_CLONE, _NUMBER.pack(descriptor))
    return clone


def open_backing(device: int, descriptor: int) -> int:
    """Register an open file as a backing file and return its id.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN; ELOOP on a stacked file system; EOPNOTSUPP without PASSTHROUGH.

    Source: FUSE_DEV_IOC_BACKING_OPEN (7.40).
    """
    # The id is what ioctl(2) returns. A bytes argument would do, but a bytearray is what keeps `fcntl.ioctl` from
    # copying the argument and returning the copy in place of the id.
    argument = bytearray(BACKING_MAP.packer.pack(descriptor, 0))
    backing: int = fcntl.ioctl(device, BACKING_OPEN, argument)
    return backing


def close_backing(device: int, backing: int) -> None:
    """Give a backing id back; open files that use it go on. Source: FUSE_DEV_IOC_BACKING_CLOSE (7.40)."""
    fcntl.ioctl(device, BACKING_CLOSE, bytearray(_NUMBER.pack(backing)))


def may_register(device: int, descriptor: int) -> OSError | None:
    """Return None when backing files can be registered on this machine, else what the kernel said."""
    try:
        close_backing(device, open_backing(device, descriptor))
    except OSError as error:
        if error.errno in _REFUSED:
            return error
        raise
    return None
