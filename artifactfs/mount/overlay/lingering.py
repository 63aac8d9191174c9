"""Whether an overlay goes on though it is not mounted any more: with who stands inside, or in another mount namespace.

Used by the overlay's server, and when a staging directory that nobody serves is committed.

Threading: functions without state; the caller holds the staging directory.

Source: ovl_get_layers and ovl_report_in_use in fs/overlayfs/super.c (Linux 5.10 and up).
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.mount.mountinfo import OVERLAY_SOURCE, OVERLAY_TYPE
from artifactfs.mount.overlay.mounting import OverlayPaths, encode_options, may_overlay
from artifactfs.mount.syscalls import MS_NODEV, MS_NOSUID, mount_filesystem, unmount_privileged
from artifactfs.staging.files import remove_tree
from artifactfs.staging.layout import OVERLAY, read_driver

if TYPE_CHECKING:
    from artifactfs.repository.staging import Staging

LINGERING_HINT: Final = "let these processes leave it, or end, and run the same command again"
_OPTIONS: Final = ("index=on", "metacopy=off", "nfs_export=off", "xino=off")


def is_lingering(staging: Staging) -> bool:
    """Return whether an overlay has the upper directory of a staging directory that is not mounted now.

    What is written in it goes into that upper directory. False also where that cannot be found out.
    """
    if read_driver(staging.layout) != OVERLAY or not may_overlay():
        return False
    trial = os.path.join(staging.layout.work, b"lingering")
    try:
        remove_tree(trial)
        for name in (b"upper", b"work", b"top"):
            os.makedirs(os.path.join(trial, name), mode=0o700)
        return _is_refused(os.fsdecode(staging.upper), os.fsdecode(trial))
    except OSError:
        return False
    finally:
        with suppress(OSError):
            remove_tree(trial)


def _is_refused(upper: str, trial: str) -> bool:
    """Return whether the kernel refuses a directory as a lower one: with an index it does while it is an upper one."""
    paths = OverlayPaths(upper, os.path.join(trial, "upper"), os.path.join(trial, "work"))
    top = os.path.join(trial, "top")
    try:
        mount_filesystem(OVERLAY_SOURCE, top, OVERLAY_TYPE, MS_NOSUID | MS_NODEV, encode_options(paths, _OPTIONS))
    except OSError as error:
        return error.errno == errno.EBUSY
    unmount_privileged(top, lazy=True)
    return False
