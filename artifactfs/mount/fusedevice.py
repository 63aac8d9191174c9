"""Whether FUSE's device can be used on this machine, and the mend when it cannot.

Used by `beginning` and `doctor`. Threading: functions without state.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from artifactfs.mount.options import Finding

DEVICE: Final = "/dev/fuse"
_NUMBER: Final = os.makedev(10, 229)  # fixed by the kernel
CONTAINER: Final = "in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"


def look_at_device(device: str = DEVICE) -> Finding:
    """Return whether `/dev/fuse` is there, is FUSE's device, and this user may open it."""
    try:
        if not _is_fuse(os.stat(device)):
            mend = f"run as root: rm {device}; mknod -m 666 {device} c 10 229; {CONTAINER}"
            message = f"{device} is not FUSE's device, the character device 10:229"
            return Finding("device", ok=False, message=message, mend=mend)
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        mend = f"run as root: modprobe fuse; {CONTAINER}"
        return Finding("device", ok=False, message=f"{device} does not exist", mend=mend)
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        if error.errno in (errno.ENODEV, errno.ENXIO):
            mend = "the kernel has no FUSE; run as root: modprobe fuse"
        else:
            mend = f"run as root: chmod 666 {device}; {CONTAINER}"
        return Finding("device", ok=False, message=f"{device} cannot be opened: {reason}", mend=mend)
    return Finding("device", ok=True, message=f"{device} can be opened")


def _is_fuse(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == _NUMBER
