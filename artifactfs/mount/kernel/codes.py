"""The numbers of the FUSE protocol: operations, flags of INIT and OPEN, notifications, device calls.

Source: linux/fuse.h of protocol 7.45; the minor from which a number holds is given where it matters.

Threading: constants.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

ROOT_NODE: Final = 1
MIN_READ_BUFFER: Final = 8192
"""`FUSE_MIN_READ_BUFFER`: read(2) with less fails with EINVAL."""
UNIQUE_RESEND: Final = 1 << 63
"""Set in `unique` of a request that was handed out before (7.40)."""


class Opcode(IntEnum):
    """What a request asks (`enum fuse_opcode`)."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53


CHANGES: Final = frozenset(
    {
        Opcode.SETATTR, Opcode.SYMLINK, Opcode.MKNOD, Opcode.MKDIR, Opcode.UNLINK, Opcode.RMDIR, Opcode.RENAME,
        Opcode.LINK, Opcode.WRITE, Opcode.SETXATTR, Opcode.REMOVEXATTR, Opcode.CREATE, Opcode.FALLOCATE,
        Opcode.RENAME2, Opcode.COPY_FILE_RANGE, Opcode.COPY_FILE_RANGE_64, Opcode.TMPFILE,
    }
)  # fmt: skip
"""What a read-only file system refuses with EROFS; the kernel asks them only where it is mounted read-write."""


class InitFlag(IntFlag):
    """Flags of INIT; bits from 32 on travel in `flags2` (7.36)."""

    ASYNC_READ = 1 << 0
    EXPORT_SUPPORT = 1 << 4
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    INIT_EXT = 1 << 30
    HAS_EXPIRE_ONLY = 1 << 35
    PASSTHROUGH = 1 << 37
    NO_EXPORT_SUPPORT = 1 << 38
    HAS_RESEND = 1 << 39


class OpenFlag(IntFlag):
    """Flags of the answer to OPEN and OPENDIR."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    CACHE_DIR = 1 << 3
    NOFLUSH = 1 << 5
    PASSTHROUGH = 1 << 7


class Notification(IntEnum):
    """What may be told to the kernel unasked (`enum fuse_notify_code`).

    `INC_EPOCH` makes the kernel look up every name afresh (7.44).
    """

    INVAL_INODE = 2
    INVAL_ENTRY = 3
    RESEND = 7
    INC_EPOCH = 8


EXPIRE_ONLY: Final = 1 << 0
"""Flag of INVAL_ENTRY (7.38): the name is asked for again, but who is inside stays."""

# The numbers that _IOR and _IOW of asm-generic/ioctl.h make of FUSE_DEV_IOC_MAGIC (229).
DEVICE_CLONE: Final = 0x8004E500
BACKING_OPEN: Final = 0x4010E501
BACKING_CLOSE: Final = 0x4004E502
