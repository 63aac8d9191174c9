"""What a view says about a node.

Threading: immutable values.
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class Kind(IntEnum):
    """What a node is."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3


class Attributes(Struct, frozen=True, array_like=True):
    """Attributes of a node. A struct, because directories of these are kept encoded in the index.

    Attributes:
        node: number that stays for the life of an epoch.
        kind: file, directory or symbolic link.
        mode: permission bits.
        size: bytes; of a symbolic link, those of its target; of a directory 0.
        mtime_ns: modification time, nanoseconds since 1970 UTC.
        nlink: number of names: 1, also for directories ("unknown").
    """

    node: int
    kind: Kind
    mode: int
    size: int
    mtime_ns: int
    nlink: int = 1


class StatFs(Struct, frozen=True):
    """Figures of a file system, as statvfs(3) gives them: blocks of `block_size` bytes, and numbers of files."""

    block_size: int
    blocks: int
    blocks_free: int
    blocks_available: int
    files: int
    files_free: int
