"""Whether FUSE's device, or a descriptor of it, can be used, and the mend when it cannot.

Used by the command line, `beginning` and `doctor`. Threading: functions without state.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from typing import Final

from artifactfs.errors import UsageError
from artifactfs.mount.options import Finding

DEVICE: Final = "/dev/fuse"
_NUMBER: Final = os.makedev(10, 229)  # fixed by the kernel
_INIT_MS: Final = 1000
_LOOKS: Final = 10
_LOOK_SECONDS: Final = 0.005
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


def check_descriptor(number: int) -> None:
    """Return if a descriptor of this process is one of `/dev/fuse` with a mount behind it. Reads nothing.

    Raises:
        UsageError: it is not.

    Source: fuse_dev_poll (fs/fuse/dev.c): POLLERR before it is mounted, and after it was unmounted.
    """
    try:
        found = os.fstat(number)
    except (OSError, OverflowError) as error:
        raise _refuse_descriptor(number, "is not open") from error
    if not _is_fuse(found):
        raise _refuse_descriptor(number, f"is not one of {DEVICE}")
    if _poll(number, 0) & select.POLLERR:
        raise _refuse_descriptor(number, "has no mount behind it")


def check_unserved(number: int) -> None:
    """Return if INIT waits to be read from a descriptor that `check_descriptor` accepts: reading it would hang.

    Raises:
        UsageError: it does not.
    """
    # Where nobody serves INIT waits all the time; a server may have a request waiting at one moment, too.
    for milliseconds in (_INIT_MS, *[0] * _LOOKS):
        if not _poll(number, milliseconds) & select.POLLIN:
            raise _refuse_descriptor(number, "is served already")
        time.sleep(_LOOK_SECONDS)


def _poll(number: int, milliseconds: int) -> int:
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return sum(events for _, events in poll.poll(milliseconds))


def _refuse_descriptor(number: int, reason: str) -> UsageError:
    return UsageError(
        f"descriptor {number} {reason}", hint="--fd takes a descriptor that was mounted and not yet served"
    )
