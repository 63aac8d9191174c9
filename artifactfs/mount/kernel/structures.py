"""The structures of the FUSE protocol that a read-only file system meets, each declared once.

Each has its fields in order, the protocol minor from which the layout holds, and its size; a test compares all
three with golden bytes. All fields are in the machine's byte order and alignment is explicit in the header, so
the formats use `=` (native order, no padding).

Source: linux/fuse.h of protocol 7.45; minors from the change log at its head.

Threading: constants and immutable values.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

PROTOCOL_MAJOR: Final = 7
PROTOCOL_MINOR: Final = 45
"""What is spoken at most; the kernel and this side use the smaller minor."""
OLDEST_MINOR: Final = 31
"""The minor of Linux 5.4; 5.10, the oldest that is supported, speaks 7.32."""


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure of the header.

    Attributes:
        name: as in the header, without `struct`.
        layout: format for the `struct` module.
        fields: names in order, without padding and reserved space.
        size: bytes.
        minor: first protocol minor with this layout.
    """

    name: str
    layout: str
    fields: tuple[str, ...]
    size: int
    minor: int
    packer: struct.Struct = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the layout."""
        object.__setattr__(self, "packer", struct.Struct(self.layout))


def _declare(name: str, layout: str, fields: str, *, size: int, minor: int) -> Structure:
    return Structure(name, layout, tuple(fields.split()), size, minor)


IN_HEADER: Final = _declare(
    "fuse_in_header", "=IIQQIIIHH", "len opcode unique nodeid uid gid pid total_extlen padding", size=40, minor=38
)
"""Before 7.38 the last four bytes were one field of padding."""
OUT_HEADER: Final = _declare("fuse_out_header", "=IiQ", "len error unique", size=16, minor=1)

INIT_IN: Final = _declare("fuse_init_in", "=IIIII44x", "major minor max_readahead flags flags2", size=64, minor=36)
INIT_IN_OLD: Final = _declare("fuse_init_in", "=IIII", "major minor max_readahead flags", size=16, minor=6)
"""What a kernel before 7.36, which has no INIT_EXT, sends."""
INIT_OUT: Final = _declare(
    "fuse_init_out",
    "=IIIIHHIIHHIIH22x",
    "major minor max_readahead flags max_background congestion_threshold max_write time_gran max_pages "
    "map_alignment flags2 max_stack_depth request_timeout",
    size=64,
    minor=43,
)
"""64 bytes since 7.23; `max_pages` came with 7.28, `flags2` with 7.36, `max_stack_depth` with 7.40."""

ATTR_FIELDS: Final = (
    "ino size blocks atime mtime ctime atimensec mtimensec ctimensec mode nlink uid gid rdev blksize flags"
)
ATTR: Final = _declare("fuse_attr", "=QQQQQQIIIIIIIIII", ATTR_FIELDS, size=88, minor=32)
"""Before 7.32 `flags` was padding, here and in the two structures that end with the same fields."""
ENTRY_OUT: Final = _declare(
    "fuse_entry_out",
    "=QQQQIIQQQQQQIIIIIIIIII",
    f"nodeid generation entry_valid attr_valid entry_valid_nsec attr_valid_nsec {ATTR_FIELDS}",
    size=128,
    minor=32,
)
ATTR_OUT: Final = _declare(
    "fuse_attr_out",
    "=QI4xQQQQQQIIIIIIIIII",
    f"attr_valid attr_valid_nsec {ATTR_FIELDS}",
    size=104,
    minor=32,
)
DIRENT: Final = _declare("fuse_dirent", "=QQII", "ino off namelen type", size=24, minor=1)
"""Followed by the name and padding to a multiple of eight; in READDIRPLUS preceded by a `fuse_entry_out`."""

GETATTR_IN: Final = _declare("fuse_getattr_in", "=I4xQ", "getattr_flags fh", size=16, minor=9)
OPEN_IN: Final = _declare("fuse_open_in", "=II", "flags open_flags", size=8, minor=33)
"""Before 7.33 `open_flags` was padding."""
OPEN_OUT: Final = _declare("fuse_open_out", "=QIi", "fh open_flags backing_id", size=16, minor=40)
RELEASE_IN: Final = _declare("fuse_release_in", "=QIIQ", "fh flags release_flags lock_owner", size=24, minor=8)
READ_IN: Final = _declare("fuse_read_in", "=QQIIQI4x", "fh offset size read_flags lock_owner flags", size=40, minor=9)
"""Also the body of READDIR and READDIRPLUS."""
GETXATTR_IN: Final = _declare("fuse_getxattr_in", "=I4x", "size", size=8, minor=1)
GETXATTR_OUT: Final = _declare("fuse_getxattr_out", "=I4x", "size", size=8, minor=1)
STATFS_OUT: Final = _declare(
    "fuse_statfs_out",
    "=QQQQQIII28x",
    "blocks bfree bavail files ffree bsize namelen frsize",
    size=80,
    minor=4,
)
INTERRUPT_IN: Final = _declare("fuse_interrupt_in", "=Q", "unique", size=8, minor=7)
FORGET_IN: Final = _declare("fuse_forget_in", "=Q", "nlookup", size=8, minor=1)
BATCH_FORGET_IN: Final = _declare("fuse_batch_forget_in", "=I4x", "count", size=8, minor=16)
LSEEK_IN: Final = _declare("fuse_lseek_in", "=QQI4x", "fh offset whence", size=24, minor=24)
LSEEK_OUT: Final = _declare("fuse_lseek_out", "=Q", "offset", size=8, minor=24)

NOTIFY_INVAL_INODE: Final = _declare("fuse_notify_inval_inode_out", "=Qqq", "ino off len", size=24, minor=12)
NOTIFY_INVAL_ENTRY: Final = _declare("fuse_notify_inval_entry_out", "=QII", "parent namelen flags", size=16, minor=38)
"""Followed by the name and a NUL. Before 7.38 `flags` was padding."""
BACKING_MAP: Final = _declare("fuse_backing_map", "=iI8x", "fd flags", size=16, minor=40)

ALL: Final = (
    IN_HEADER, OUT_HEADER, INIT_IN, INIT_IN_OLD, INIT_OUT, ATTR, ENTRY_OUT, ATTR_OUT, DIRENT, GETATTR_IN,
    OPEN_IN, OPEN_OUT, RELEASE_IN, READ_IN, GETXATTR_IN, GETXATTR_OUT, STATFS_OUT, INTERRUPT_IN, FORGET_IN,
    BATCH_FORGET_IN, LSEEK_IN, LSEEK_OUT, NOTIFY_INVAL_INODE, NOTIFY_INVAL_ENTRY, BACKING_MAP,
)  # fmt: skip
"""Every structure above, for the test that checks them."""


def align(size: int) -> int:
    """Return `size` rounded up to a multiple of eight, as `FUSE_REC_ALIGN` does."""
    return (size + 7) & ~7
