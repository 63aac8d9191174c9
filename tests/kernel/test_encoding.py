"""Attributes, directory records and pages as bytes."""

from __future__ import annotations

import stat

from hypothesis import given
from hypothesis import strategies as st

from artifactfs.mount.kernel.encoding import (
    FOREVER_SECONDS,
    NO_ATTRIBUTES,
    NO_ENTRY,
    NodeAttributes,
    Owner,
    Validity,
    encode_attr,
    encode_entry,
    encode_record,
    entry_as_attr,
)
from artifactfs.mount.kernel.notifications import encode_expire_entry, encode_inval_inode, encode_resend
from artifactfs.mount.kernel.pages import (
    encode_page,
    find_in_page,
    iter_pages,
    iter_records,
    record_count,
    slice_page,
    strip_attributes,
)
from artifactfs.mount.kernel.structures import ATTR_OUT, ENTRY_OUT

OWNER = Owner(1000, 100)
FILE = NodeAttributes(7, stat.S_IFREG | 0o640, 1000, 1_500_000_001_000_000_002)


def fields(structure, data):
    return dict(zip(structure.fields, structure.packer.unpack(data), strict=True))


def test_entry_says_what_stat_shows() -> None:
    entry = fields(ENTRY_OUT, encode_entry(FILE, OWNER, validity=Validity(1_000_000_005, 7)))
    assert (entry["nodeid"], entry["ino"], entry["generation"]) == (7, 7, 0)
    assert (entry["entry_valid"], entry["entry_valid_nsec"]) == (1, 5)
    assert (entry["attr_valid"], entry["attr_valid_nsec"]) == (0, 7)
    assert (entry["mtime"], entry["mtimensec"]) == (1_500_000_001, 2)
    assert (entry["size"], entry["blocks"], entry["nlink"]) == (1000, 2, 1)
    assert (entry["uid"], entry["gid"]) == (1000, 100)


def test_what_cannot_change_is_kept_for_ever() -> None:
    entry = fields(ENTRY_OUT, encode_entry(FILE, OWNER))
    assert entry["entry_valid"] == entry["attr_valid"] == FOREVER_SECONDS


def test_time_before_1970() -> None:
    attr = fields(ATTR_OUT, encode_attr(NodeAttributes(1, stat.S_IFREG, 0, -1), OWNER))
    assert attr["mtime"] - (1 << 64) == -1
    assert attr["mtimensec"] == 999_999_999


def test_entry_and_attributes_agree() -> None:
    assert entry_as_attr(encode_entry(FILE, OWNER)) == encode_attr(FILE, OWNER)


def test_no_entry_is_kept_for_ever() -> None:
    entry = fields(ENTRY_OUT, NO_ENTRY)
    assert entry.pop("entry_valid") == FOREVER_SECONDS
    assert set(entry.values()) == {0}


def test_notifications_golden() -> None:
    assert encode_resend().hex() == "10000000070000000000000000000000"
    assert encode_inval_inode(5).hex() == (
        "28000000020000000000000000000000" + "0500000000000000" + "0000000000000000" + "0000000000000000"
    )
    assert encode_expire_entry(1, b"abc").hex() == (
        "24000000030000000000000000000000" + "0100000000000000" + "03000000" + "01000000" + "61626300"
    )


def test_record_golden() -> None:
    record = encode_record(b"cat.png", b"\x11" * 128, mode=stat.S_IFREG | 0o644, node=9, offset=3)
    assert record[:128] == b"\x11" * 128
    assert record[128:].hex() == "09000000000000000300000000000000" + "0700000008000000" + "6361742e706e6700"


names = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)


def records_of(children: list[bytes]) -> list[bytes]:
    listed = [b".", b"..", *children]
    return [
        encode_record(
            name,
            NO_ATTRIBUTES if number < 2 else encode_entry(NodeAttributes(number, 0o100644, number, 0), OWNER),
            mode=0o100644,
            node=number,
            offset=number + 1,
        )
        for number, name in enumerate(listed)
    ]


@given(st.sets(names, max_size=40).map(lambda found: sorted(found - {b".", b".."})), st.integers(200, 5000))
def test_pages_hold_all_records_in_order_and_find_each_name(children: list[bytes], limit: int) -> None:
    records = records_of(children)
    pages = list(iter_pages(records, limit=limit))
    assert [first for first, _ in pages] == _starts(pages)
    joined = b"".join(bytes(slice_page(memoryview(page), skip=0, room=1 << 20)[0]) for _, page in pages)
    assert joined == b"".join(records)
    for number, name in enumerate(children, 2):
        found = [find_in_page(memoryview(page), name) for _, page in pages]
        assert [bytes(entry) for entry in found if entry is not None] == [records[number][:128]]
    assert all(find_in_page(memoryview(page), b"no/such") is None for _, page in pages)


def _starts(pages: list[tuple[int, bytes]]) -> list[int]:
    starts, total = [], 0
    for _, page in pages:
        starts.append(total)
        total += record_count(page)
    return starts


@given(st.integers(0, 12), st.integers(0, 2000))
def test_slice_is_whole_records_that_fit(skip: int, room: int) -> None:
    records = records_of([b"a" * size for size in range(1, 9)])
    data, count = slice_page(memoryview(encode_page(records)), skip=skip, room=room)
    assert bytes(data) == b"".join(records[skip : skip + count])
    assert len(data) <= room
    if skip + count < len(records):
        assert len(data) + len(records[skip + count]) > room


def test_records_without_attributes() -> None:
    records = records_of([b"one", b"two"])
    plain = strip_attributes(b"".join(records), room=1 << 16)
    assert plain == b"".join(record[128:] for record in records)
    assert strip_attributes(b"".join(records), room=len(records[0]) - 128) == records[0][128:]
    assert [name for name, _ in iter_records(b"".join(records))] == [b".", b"..", b"one", b"two"]
