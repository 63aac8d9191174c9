"""INIT: what kernel and file system agree on, once for the life of a mount.

Used by the supervisor, which reads INIT before it forks. An upgraded supervisor is handed the result, because
INIT does not come again.

Threading: pure functions, immutable values.
Source: linux/fuse.h, `fuse_init_in` and `fuse_init_out`; fs/fuse/inode.c, `process_init_reply`.
"""

from __future__ import annotations

import errno
import mmap
from typing import Final

from msgspec import Struct

from artifactfs.errors import MountError
from artifactfs.mount.kernel.codes import InitFlag, Opcode
from artifactfs.mount.kernel.structures import (
    IN_HEADER,
    INIT_IN,
    INIT_IN_OLD,
    INIT_OUT,
    OLDEST_MINOR,
    OUT_HEADER,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
)

PAGE: Final = mmap.PAGESIZE
MAX_PAGES: Final = max((1 << 20) // PAGE, 1)
"""Pages of one READ: 1 MiB, also where a page has 16 or 64 KiB (arm64). The kernel lowers it to
/proc/sys/fs/fuse/max_pages_limit."""
MAX_WRITE: Final = 4096
"""The smallest that the kernel accepts; nothing is ever written."""
MAX_BACKGROUND: Final = 1000
CONGESTION: Final = 750

WANTED: Final = (
    InitFlag.ASYNC_READ
    | InitFlag.DO_READDIRPLUS
    | InitFlag.ASYNC_DIO
    | InitFlag.PARALLEL_DIROPS
    | InitFlag.ABORT_ERROR
    | InitFlag.MAX_PAGES
    | InitFlag.CACHE_SYMLINKS
    | InitFlag.EXPLICIT_INVAL_DATA
    | InitFlag.INIT_EXT
    | InitFlag.HAS_EXPIRE_ONLY
    | InitFlag.HAS_RESEND
)
NOTHING_MORE: Final = InitFlag(0)
_FALLBACKS: Final = (
    (InitFlag.HAS_RESEND, "RESEND (Linux 6.9)", "requests of a killed worker end with an error"),
    (InitFlag.HAS_EXPIRE_ONLY, "EXPIRE_ONLY (Linux 6.2)", "names of collections and versions are asked for each time"),
    (InitFlag.MAX_PAGES, "MAX_PAGES (Linux 4.20)", "large files are read in pieces of 128 KiB"),
    (InitFlag.CACHE_SYMLINKS, "CACHE_SYMLINKS (Linux 4.20)", "aliases are read on every use"),
    (InitFlag.DO_READDIRPLUS, "READDIRPLUS (Linux 3.9)", "every name is looked up"),
    (InitFlag.NO_OPEN_SUPPORT, "zero-message opens (Linux 3.16)", "every file is opened by a request"),
)


class Negotiated(Struct, frozen=True):
    """What was agreed on.

    Attributes:
        minor: protocol minor in use.
        flags: `InitFlag` bits in use.
        offered: `InitFlag` bits that the kernel offered.
        max_readahead: bytes.
        max_pages: pages of one READ.
    """

    minor: int
    flags: int
    offered: int
    max_readahead: int
    max_pages: int

    @property
    def max_read(self) -> int:
        """Bytes of the longest READ or READDIR."""
        return self.max_pages * PAGE

    def has(self, flag: InitFlag) -> bool:
        """Return whether a feature is in use."""
        return bool(self.flags & flag)

    def feature_names(self) -> list[str]:
        """Return the names of the features in use, in the order of their bits."""
        return [flag.name or "" for flag in InitFlag if self.flags & flag]

    def missing(self) -> list[str]:
        """Return a line for each wanted feature that this kernel lacks, with what is done instead."""
        return [
            f"this kernel has no {name}: {instead}" for flag, name, instead in _FALLBACKS if not self.offered & flag
        ]


def is_init(request: bytes | memoryview) -> bool:
    """Return whether a request is INIT."""
    return len(request) >= IN_HEADER.size + INIT_IN_OLD.size and IN_HEADER.packer.unpack_from(request)[1] == Opcode.INIT


def negotiate(request: bytes | memoryview, *, extra: InitFlag = NOTHING_MORE) -> Negotiated:
    """Return what follows from the kernel's INIT.

    Args:
        request: the whole request.
        extra: flags wanted besides the usual ones, such as PASSTHROUGH.

    Raises:
        MountError: the kernel speaks another major version, or one before 7.31.
    """
    body = request[IN_HEADER.size :]
    major, minor, readahead, low = INIT_IN_OLD.packer.unpack_from(body)
    if major != PROTOCOL_MAJOR or minor < OLDEST_MINOR:
        msg = f"the kernel speaks FUSE {major}.{minor}; the kernel transport needs 7.{OLDEST_MINOR} (Linux 5.4)"
        raise MountError(msg, hint="use --transport fusepy")
    high = 0
    if low & InitFlag.INIT_EXT and len(body) >= INIT_IN.size:
        high = INIT_IN.packer.unpack_from(body)[4]
    offered = low | high << 32
    flags = offered & int(WANTED | extra)
    pages = MAX_PAGES if flags & InitFlag.MAX_PAGES else 32
    return Negotiated(min(minor, PROTOCOL_MINOR), flags, offered, readahead, pages)


def encode_init_reply(request: bytes | memoryview, agreed: Negotiated) -> bytes:
    """Return the answer to INIT."""
    unique = IN_HEADER.packer.unpack_from(request)[2]
    low, high = agreed.flags & 0xFFFFFFFF, agreed.flags >> 32
    depth = 1 if agreed.has(InitFlag.PASSTHROUGH) else 0
    body = INIT_OUT.packer.pack(
        PROTOCOL_MAJOR, agreed.minor, agreed.max_readahead, low, MAX_BACKGROUND, CONGESTION,
        MAX_WRITE, 1, agreed.max_pages, 0, high, depth, 0,
    )  # fmt: skip
    return OUT_HEADER.packer.pack(OUT_HEADER.size + len(body), 0, unique) + body


def encode_init_refusal(request: bytes | memoryview) -> bytes:
    """Return the answer that makes the kernel give up the mount."""
    return OUT_HEADER.packer.pack(OUT_HEADER.size, -errno.EPROTO, IN_HEADER.packer.unpack_from(request)[2])
