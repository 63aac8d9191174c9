"""Mount options for the two kinds of mount, and the call that serves one until it is unmounted.

Used by `daemon`. Import it only after `library.load_fuse` has succeeded.

Threading: `serve` blocks the main thread of the process, where libfuse takes SIGTERM, SIGINT and SIGHUP (unless they
are ignored): it then answers what was asked, unmounts and returns.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from artifactfs.errors import MountError
from artifactfs.mount.fusepy.bridge import Bridge
from artifactfs.mount.fusepy.operations import Operations
from artifactfs.mount.fusepy.turns import Turns
from artifactfs.mount.wakeups import Wakeups

NAME: Final = "fusepy"
_READ_SIZE: Final = 131072
_DAY_SECONDS: Final = 86400

Options = dict[str, str | int | bool]


def read_only_options(*, allow_other: bool) -> Options:
    """Return the options of a mount of versions: the kernel keeps what it has learnt.

    Unknown names are not kept, so that a new version shows at once.

    One thread answers: Python runs one at a time anyway, and handing each request to another thread of libfuse's cost
    three times the processor time of answering it (75 instead of 22 microseconds for a lookup). Nothing here waits
    for anything but the local disk.
    """
    return {
        **_common(allow_other=allow_other),
        "nothreads": True,
        "ro": True,
        "kernel_cache": True,
        "entry_timeout": _DAY_SECONDS,
        "attr_timeout": _DAY_SECONDS,
        "negative_timeout": 0,
    }


def writable_options(*, allow_other: bool) -> Options:
    """Return the options of a staging directory's mount.

    Pages are dropped at each open, names and attributes after a second: a file with two names has an inode for each
    in libfuse 2, and what is written through one shows through the other then.
    """
    return {
        **_common(allow_other=allow_other),
        "rw": True,
        "big_writes": True,
        "atomic_o_trunc": True,
        "entry_timeout": 1,
        "attr_timeout": 1,
        "negative_timeout": 0,
    }


def _common(*, allow_other: bool) -> Options:
    return {
        "foreground": True,
        "fsname": "artifactfs",
        "subtype": "artifactfs",
        "nosuid": True,
        "nodev": True,
        "default_permissions": True,
        "use_ino": True,
        "max_read": _READ_SIZE,
        "allow_other": allow_other,
    }


def serve(
    operations: Operations, mountpoint: str, *, options: Options, wakeups: Wakeups, turns: Turns | None = None
) -> None:
    """Mount `operations` and serve them until the mount is gone or a signal ends it.

    With `turns`, in which case no option must say how many threads serve, by these threads.

    Raises:
        MountError: libfuse could not mount; what it said is on standard error.
    """
    try:
        Bridge(operations, os.fsencode(mountpoint), wakeups=wakeups, turns=turns, **options)
    except RuntimeError as error:
        # fusepy raises what fuse_main returned: 1 to 6 for its steps; libfuse 2 says more on standard error.
        _flush_c_streams()
        msg = f"libfuse could not mount on {mountpoint} (step {error})"
        raise MountError(msg, subject=mountpoint) from error


def _flush_c_streams() -> None:
    ctypes.CDLL(None).fflush(None)
