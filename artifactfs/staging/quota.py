"""How much a staging directory may hold, how much it holds, and who sees to it.

What counts is what the upper directory occupies on the disk: the blocks of files, links and directories, as the file
system's own quotas count them. A file with several names counts once, and what is only in the version below counts
nothing.

Used by the union, by commit and by status. Threading: functions without state.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from artifactfs.errors import StorageFullError
from artifactfs.staging.files import ShortPaths
from artifactfs.staging.layout import UNION, read_driver
from artifactfs.staging.projectquota import is_limited, read_used

if TYPE_CHECKING:
    from artifactfs.staging.layout import Layout, StagingInfo

SECTOR: Final = 512
BLOCK: Final = 4096
Enforcer = Literal["project", "union", "commit"]
"""Who keeps a staging directory below its quota: the file system, the union's server, or nobody before a commit."""


def occupied(status: os.stat_result) -> int:
    """Return the bytes that a file, link or directory occupies on the disk.

    What XFS allocates ahead of the end of a file does not count: it is given back when it is needed. A block beyond the
    content may be one of extended attributes.
    """
    if not stat.S_ISREG(status.st_mode):
        return status.st_blocks * SECTOR
    return min(status.st_blocks * SECTOR, (-(-status.st_size // BLOCK) + 1) * BLOCK)


def measure(upper: bytes) -> int:
    """Return the bytes that a directory and all that is in it occupy; what comes and goes meanwhile may count or not.

    What this user may not look into does not count.
    """
    return occupied(os.lstat(upper)) + measure_below(upper)


def measure_below(path: bytes) -> int:
    """Return the bytes that all that is in a directory occupies; see `measure`."""
    total = 0
    seen: set[tuple[int, int]] = set()
    waiting = [path]
    with ShortPaths() as short:
        while waiting:
            for item, status in _list(short, waiting.pop()):
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(item)
                elif status.st_nlink > 1:
                    key = status.st_dev, status.st_ino
                    if key in seen:
                        continue
                    seen.add(key)
                total += occupied(status)
    return total


def _list(short: ShortPaths, path: bytes) -> list[tuple[bytes, os.stat_result]]:
    found = []
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(short.inside(path)) as items:
        for item in items:
            with suppress(FileNotFoundError):
                found.append((item.path, item.stat(follow_symlinks=False)))
    return found


def find_enforcer(layout: Layout, info: StagingInfo) -> Enforcer:
    """Return who keeps a staging directory below its quota, which it must have."""
    if info.project is not None and is_limited(layout.directory, info.project, info.quota or 0):
        return "project"
    # Overlayfs writes without asking anybody.
    return "union" if read_driver(layout) == UNION else "commit"


def find_used(layout: Layout, info: StagingInfo, enforcer: Enforcer) -> int:
    """Return the bytes that count against a quota.

    Of a project that is what the file system counts: a little more than is measured, with the files beside the upper
    directory.
    """
    if enforcer == "project" and info.project is not None:
        with suppress(OSError):
            return read_used(layout.directory, info.project)
    return measure(layout.upper(info))


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
        hint = f"remove files in it, or allow more: artifactfs stage {info.collection} --name {info.name} --quota SIZE"
        raise StorageFullError(msg, hint=hint, subject=str(info))
