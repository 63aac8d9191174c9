"""The structures against bytes that a C compiler made of linux/fuse.h 7.45: field number n holds the value n."""

from __future__ import annotations

import pytest

from artifactfs.mount.kernel import codes
from artifactfs.mount.kernel.structures import ALL, INIT_IN_OLD, PROTOCOL_MINOR, Structure, align

GOLDEN = {
    "fuse_in_header": "01000000020000000300000000000000040000000000000005000000060000000700000008000900",
    "fuse_out_header": "01000000020000000300000000000000",
    "fuse_init_in": (
        "010000000200000003000000040000000500000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000"
    ),
    "fuse_init_out": (
        "0100000002000000030000000400000005000600070000000800000009000a000b0000000c0000000d00000000000000"
        "00000000000000000000000000000000"
    ),
    "fuse_attr": (
        "010000000000000002000000000000000300000000000000040000000000000005000000000000000600000000000000"
        "0700000008000000090000000a0000000b0000000c0000000d0000000e0000000f00000010000000"
    ),
    "fuse_entry_out": (
        "010000000000000002000000000000000300000000000000040000000000000005000000060000000700000000000000"
        "080000000000000009000000000000000a000000000000000b000000000000000c000000000000000d0000000e000000"
        "0f00000010000000110000001200000013000000140000001500000016000000"
    ),
    "fuse_attr_out": (
        "010000000000000002000000000000000300000000000000040000000000000005000000000000000600000000000000"
        "07000000000000000800000000000000090000000a0000000b0000000c0000000d0000000e0000000f00000010000000"
        "1100000012000000"
    ),
    "fuse_dirent": "010000000000000002000000000000000300000004000000",
    "fuse_getattr_in": "01000000000000000200000000000000",
    "fuse_open_in": "0100000002000000",
    "fuse_open_out": "01000000000000000200000003000000",
    "fuse_release_in": "010000000000000002000000030000000400000000000000",
    "fuse_read_in": "01000000000000000200000000000000030000000400000005000000000000000600000000000000",
    "fuse_getxattr_in": "0100000000000000",
    "fuse_getxattr_out": "0100000000000000",
    "fuse_statfs_out": (
        "010000000000000002000000000000000300000000000000040000000000000005000000000000000600000007000000"
        "0800000000000000000000000000000000000000000000000000000000000000"
    ),
    "fuse_interrupt_in": "0100000000000000",
    "fuse_forget_in": "0100000000000000",
    "fuse_batch_forget_in": "0100000000000000",
    "fuse_lseek_in": "010000000000000002000000000000000300000000000000",
    "fuse_lseek_out": "0100000000000000",
    "fuse_notify_inval_inode_out": "010000000000000002000000000000000300000000000000",
    "fuse_notify_inval_entry_out": "01000000000000000200000003000000",
    "fuse_backing_map": "01000000020000000000000000000000",
}

MINORS = {
    ("fuse_in_header", 40): 38,
    ("fuse_out_header", 16): 1,
    ("fuse_init_in", 64): 36,
    ("fuse_init_in", 16): 6,
    ("fuse_init_out", 64): 43,
    ("fuse_attr", 88): 32,
    ("fuse_entry_out", 128): 32,
    ("fuse_attr_out", 104): 32,
    ("fuse_dirent", 24): 1,
    ("fuse_getattr_in", 16): 9,
    ("fuse_open_in", 8): 33,
    ("fuse_open_out", 16): 40,
    ("fuse_release_in", 24): 8,
    ("fuse_read_in", 40): 9,
    ("fuse_getxattr_in", 8): 1,
    ("fuse_getxattr_out", 8): 1,
    ("fuse_statfs_out", 80): 4,
    ("fuse_interrupt_in", 8): 7,
    ("fuse_forget_in", 8): 1,
    ("fuse_batch_forget_in", 8): 16,
    ("fuse_lseek_in", 24): 24,
    ("fuse_lseek_out", 8): 24,
    ("fuse_notify_inval_inode_out", 24): 12,
    ("fuse_notify_inval_entry_out", 16): 38,
    ("fuse_backing_map", 16): 40,
}
"""By name and size, the minor at which the last of the fields came, from the protocol changelog in linux/fuse.h."""


def test_minors_are_those_of_the_changelog() -> None:
    assert {(structure.name, structure.size): structure.minor for structure in ALL} == MINORS
    assert max(MINORS.values()) <= PROTOCOL_MINOR


@pytest.mark.parametrize("structure", ALL, ids=lambda structure: f"{structure.name}-{structure.size}")
def test_layout_is_that_of_the_header(structure: Structure) -> None:
    golden = bytes.fromhex(GOLDEN[structure.name])
    if structure is INIT_IN_OLD:
        golden = golden[: structure.size]
    values = tuple(range(1, len(structure.fields) + 1))
    assert structure.packer.pack(*values) == golden
    assert structure.packer.unpack(golden) == values
    assert structure.packer.size == structure.size == len(golden)


def test_records_are_aligned_to_eight_bytes() -> None:
    assert [align(size) for size in (0, 1, 7, 8, 9, 153)] == [0, 8, 8, 8, 16, 160]


def test_numbers_that_cannot_be_guessed() -> None:
    assert codes.Opcode.READDIRPLUS == 44
    assert codes.Opcode.BATCH_FORGET == 42
    assert codes.InitFlag.HAS_RESEND == 1 << 39
    assert codes.InitFlag.PASSTHROUGH == 1 << 37
    assert codes.InitFlag.HAS_EXPIRE_ONLY == 1 << 35
    assert (codes.DEVICE_CLONE, codes.BACKING_OPEN, codes.BACKING_CLOSE) == (2147804416, 1074849025, 1074062594)
