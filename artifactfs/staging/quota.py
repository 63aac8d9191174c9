"""How much a staging directory may hold, how much it holds, and who sees to it.

What counts is what the files in the upper directory occupy on the disk; a file with several names counts once, and
what is only in the version below counts nothing.

Used by the union, by commit and by status. Threading: functions without state.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, Literal

from artifactfs.errors import StorageFullError
from artifactfs.staging.files import iter_below
from artifactfs.staging.layout import UNION, read_driver
from artifactfs.staging.projectquota import is_limited

if TYPE_CHECKING:
    from artifactfs.staging.layout import Layout, StagingInfo

SECTOR: Final = 512
Enforcer = Literal["project", "union", "commit"]
"""Who keeps a staging directory below its quota: the file system, the union's server, or nobody before a commit."""


def measure(upper: bytes) -> int:
    """Return the bytes that the files in a directory occupy; what comes and goes meanwhile may count or not."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for path, is_directory in iter_below(upper):
        if is_directory:
            continue
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        if status.st_nlink > 1:
            key = status.st_dev, status.st_ino
            if key in seen:
                continue
            seen.add(key)
        total += status.st_blocks * SECTOR
    return total


def find_enforcer(layout: Layout, info: StagingInfo) -> Enforcer:
    """Return who keeps a staging directory below its quota, which it must have."""
    if info.project is not None and is_limited(layout.directory, info.project, info.quota or 0):
        return "project"
    # Overlayfs writes without asking anybody.
    return "union" if read_driver(layout) == UNION else "commit"


def check_quota(layout: Layout, info: StagingInfo) -> None:
    """Return if a staging directory holds no more than it may.

    Raises:
        StorageFullError: it holds more; nothing was changed.
    """
    if info.quota is None:
        return
    used = measure(layout.upper(info))
    if used > info.quota:
        msg = f"{info} holds {used} bytes, {used - info.quota} more than its quota of {info.quota}"
        raise StorageFullError(msg, hint="remove files in it, or stage with a larger --quota", subject=str(info))
