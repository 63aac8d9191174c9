"""Attributes as the kernel wants them: `fuse_entry_out`, `fuse_attr_out` and directory records.

Used by whatever prepares the index, and by tests. Nothing here is on the path of a warm request.

Threading: pure functions, immutable values.
Source: linux/fuse.h.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import Final

from artifactfs.mount.kernel.structures import ATTR_OUT, DIRENT, ENTRY_OUT, align

FOREVER_SECONDS: Final = 1 << 31
"""How long names and attributes that cannot change are kept; longer than any mount lives."""
BLOCK: Final = 4096
_NANOSECONDS: Final = 1_000_000_000
_DIRENT_TYPE_SHIFT: Final = 12
"""`d_type` is the file type bits of the mode shifted by this (`IFTODT` of dirent.h)."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns every file of a mount."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Validity:
    """How long the kernel keeps a name and attributes, in nanoseconds; 0 means it asks every time."""

    entry_ns: int = FOREVER_SECONDS * _NANOSECONDS
    attr_ns: int = FOREVER_SECONDS * _NANOSECONDS


FOREVER: Final = Validity()


@dataclass(frozen=True, slots=True)
class NodeAttributes:
    """What stat(2) tells of a node. `mode` holds type and permission bits; times are nanoseconds since 1970."""

    node: int
    mode: int
    size: int
    mtime_ns: int
    nlink: int = 1


def _attr_values(attributes: NodeAttributes, owner: Owner) -> tuple[int, ...]:
    seconds, rest = divmod(attributes.mtime_ns, _NANOSECONDS)
    seconds &= (1 << 64) - 1  # times before 1970: the kernel reads the field as signed
    size = attributes.size
    times = (seconds, seconds, seconds, rest, rest, rest)
    blocks = 0 if stat.S_ISDIR(attributes.mode) else (size + 511) >> 9
    return (
        attributes.node, size, blocks, *times,
        attributes.mode, attributes.nlink, owner.uid, owner.gid, 0, BLOCK, 0,
    )  # fmt: skip


def encode_entry(attributes: NodeAttributes, owner: Owner, *, validity: Validity = FOREVER) -> bytes:
    """Return the `fuse_entry_out` of a node: 128 bytes. The generation is 0: node numbers are never reused."""
    entry_s, entry_ns = divmod(validity.entry_ns, _NANOSECONDS)
    attr_s, attr_ns = divmod(validity.attr_ns, _NANOSECONDS)
    head = (attributes.node, 0, entry_s, attr_s, entry_ns, attr_ns)
    return ENTRY_OUT.packer.pack(*head, *_attr_values(attributes, owner))


def encode_attr(attributes: NodeAttributes, owner: Owner, *, validity: Validity = FOREVER) -> bytes:
    """Return the `fuse_attr_out` of a node: 104 bytes."""
    seconds, nanoseconds = divmod(validity.attr_ns, _NANOSECONDS)
    return ATTR_OUT.packer.pack(seconds, nanoseconds, *_attr_values(attributes, owner))


def entry_as_attr(entry: bytes | memoryview) -> bytes:
    """Return the `fuse_attr_out` that says the same as a `fuse_entry_out`."""
    values = ENTRY_OUT.packer.unpack_from(entry)
    return ATTR_OUT.packer.pack(values[3], values[5], *values[6:])


NO_ENTRY: Final = ENTRY_OUT.packer.pack(0, 0, FOREVER_SECONDS, *[0] * 19)
"""Answer to LOOKUP of a name that will never exist: node 0, kept for ever (a negative entry)."""


def encode_record(name: bytes, entry: bytes, *, mode: int, node: int, offset: int) -> bytes:
    """Return the READDIRPLUS record of a name.

    Args:
        name: the name.
        entry: its `fuse_entry_out`; 128 NUL bytes give a name without attributes, as `.` and `..` have.
        mode: type and permission bits, of which the type goes into the record.
        node: inode number shown by readdir(3).
        offset: where the directory goes on after this record.
    """
    size = ENTRY_OUT.size + DIRENT.size + len(name)
    dirent = DIRENT.packer.pack(node, offset, len(name), mode >> _DIRENT_TYPE_SHIFT)
    return entry + dirent + name + b"\0" * (align(size) - size)


NO_ATTRIBUTES: Final = b"\0" * ENTRY_OUT.size
"""Stands for the entry in the records of `.` and `..`, which the kernel does not look up."""
