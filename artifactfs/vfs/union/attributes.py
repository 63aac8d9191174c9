"""Attributes of what shows in a union.

Used by the union. Threading: pure functions.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from artifactfs.model import DirectoryEntry, SymlinkEntry
from artifactfs.staging.marks import NODE_MARK, find_xattr

if TYPE_CHECKING:
    from artifactfs.repository.lower import LowerEntry
    from artifactfs.vfs.union.resolving import Found


class UnionAttributes(NamedTuple):
    """What stat(2) tells. `mode` has the file type; times are nanoseconds since 1970 UTC; blocks are 512 bytes.

    `uid` and `gid` are None for what still lies in the version, which belongs to whoever mounts.
    """

    node: int
    mode: int
    size: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    nlink: int
    blocks: int
    uid: int | None
    gid: int | None


def attributes_of(found: Found, upper_path: bytes) -> UnionAttributes:
    """Return the attributes of what shows under a name."""
    if found.upper is not None:
        return upper_attributes(found.upper, _find_mark(found.upper, upper_path))
    assert found.lower is not None
    return lower_attributes(found.lower)


def upper_attributes(status: os.stat_result, mark: bytes | None) -> UnionAttributes:
    """Return the attributes of a file in the upper directory; `mark` is its inode number from before the copy."""
    return UnionAttributes(
        node=int(mark) if mark else status.st_ino,
        mode=status.st_mode,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        atime_ns=status.st_atime_ns,
        ctime_ns=status.st_ctime_ns,
        nlink=1 if stat.S_ISDIR(status.st_mode) else status.st_nlink,
        blocks=status.st_blocks,
        uid=status.st_uid,
        gid=status.st_gid,
    )


def lower_attributes(lower: LowerEntry) -> UnionAttributes:
    """Return the attributes of an entry of the version."""
    entry = lower.entry
    match entry:
        case DirectoryEntry():
            mode = stat.S_IFDIR | entry.mode
        case SymlinkEntry():
            mode = stat.S_IFLNK | 0o777
        case _:
            mode = stat.S_IFREG | entry.mode
    times = entry.mtime_ns, entry.mtime_ns, entry.mtime_ns
    return UnionAttributes(lower.node, mode, lower.size, *times, 1, (lower.size + 511) >> 9, None, None)


def _find_mark(status: os.stat_result, upper_path: bytes) -> bytes | None:
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        return None
    try:
        return find_xattr(upper_path, NODE_MARK)
    except (FileNotFoundError, PermissionError):
        # Removed while its directory is listed; or its owner, an ordinary user, may not read it.
        return None
