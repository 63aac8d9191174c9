"""Shared mounts: what is mounted below one is seen in every bind of it that asks for that (`rslave`).

Used by `api`. Threading: functions without state. Source: mount_namespaces(7), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from artifactfs.errors import MountError
from artifactfs.mount.mountinfo import parse_mount
from artifactfs.mount.syscalls import bind_mount, may_mount, mount_filesystem

_MS_SHARED: Final = 1 << 20
_TABLE: Final = "/proc/self/mountinfo"


def is_shared(directory: str) -> bool:
    """Return whether what is mounted below a directory is seen elsewhere."""
    best, shared = "", False
    for line in Path(_TABLE).read_bytes().splitlines():
        place = parse_mount(line).mountpoint
        if (directory + "/").startswith(place.rstrip("/") + "/") and len(place) >= len(best):
            best, shared = place, any(field.startswith(b"shared:") for field in line.partition(b" - ")[0].split()[6:])
    return shared


def share_parent(mountpoint: str) -> None:
    """Make the directory above a mount point a shared mount, by binding it over itself, if it lies on none.

    Raises:
        MountError: it is not allowed.
    """
    above = os.path.dirname(mountpoint)
    if is_shared(above):
        return
    if not may_mount():
        msg = f"{above} cannot be made a shared mount"
        raise MountError(
            msg, hint=f"as root: mount --bind {above} {above} && mount --make-shared {above}", subject=above
        )
    try:
        if above != "/":
            bind_mount(above, above)
        mount_filesystem("none", above, "none", _MS_SHARED, "")
    except OSError as error:
        msg = f"{above} cannot be made a shared mount: {error.strerror}"
        raise MountError(msg, subject=above) from error
