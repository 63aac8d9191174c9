"""Prepared pages: READDIRPLUS records of one directory, ready to be sent, cut anywhere between two records.

A directory's records are numbered from 0 in name order, `.` and `..` first; the number after a record is its
offset for readdir, so any worker can go on where another one stopped. A page holds a run of records:

    u32 count, u32 end[count], records

`end[i]` is the number of bytes up to the end of record i. 32 KiB of records a page: what a kernel asks at once.

Threading: pure functions.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from artifactfs.mount.kernel.structures import DIRENT, ENTRY_OUT, align

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE_BYTES: Final = 32 << 10
_COUNT = struct.Struct("=I")
_NAME_LENGTH = struct.Struct("=I")
_HEAD: Final = ENTRY_OUT.size + DIRENT.size
_NAME_LENGTH_AT: Final = ENTRY_OUT.size + 16


def encode_page(records: list[bytes]) -> bytes:
    """Return the page of some records."""
    ends = []
    total = 0
    for record in records:
        total += len(record)
        ends.append(total)
    return struct.pack(f"={len(records) + 1}I", len(records), *ends) + b"".join(records)


def iter_pages(records: Iterable[bytes], *, limit: int = PAGE_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first record, page) for all records of a directory."""
    first, held, size = 0, list[bytes](), 0
    for record in records:
        if held and size + len(record) > limit:
            yield first, encode_page(held)
            first, held, size = first + len(held), [], 0
        held.append(record)
        size += len(record)
    yield first, encode_page(held)


def record_count(page: memoryview | bytes) -> int:
    """Return how many records a page holds."""
    count: int = _COUNT.unpack_from(page)[0]
    return count


def slice_page(page: memoryview, *, skip: int, room: int) -> tuple[memoryview, int]:
    """Return the records of a page from number `skip` on that fit into `room` bytes, and how many they are."""
    count = _COUNT.unpack_from(page)[0]
    if skip >= count:
        return page[:0], 0
    ends = page[4 : 4 + 4 * count].cast("I")
    start = ends[skip - 1] if skip else 0
    stop_at = bisect_right(ends, start + room, lo=skip)
    if stop_at == skip:
        return page[:0], 0
    base = 4 + 4 * count
    return page[base + start : base + ends[stop_at - 1]], stop_at - skip


def copy_records(pages: Iterable[tuple[int, memoryview]], *, offset: int, into: memoryview) -> int:
    """Copy a directory's records from number `offset` on, as many as fit; return the bytes copied.

    Args:
        pages: (number of the first record, page) in order, from one that is not after `offset`.
        offset: number of the first record to copy.
        into: where to.
    """
    filled = 0
    for first, page in pages:
        skip = max(offset - first, 0)
        data, count = slice_page(page, skip=skip, room=len(into) - filled)
        into[filled : filled + len(data)] = data
        filled += len(data)
        if skip + count < record_count(page):
            break
    return filled


def find_in_page(page: memoryview, name: bytes) -> memoryview | None:
    """Return the `fuse_entry_out` of `name` in a page, by bisection; None when it is not there.

    `.` and `..` are never found: they have no entry, and lie before all others.
    """
    count = _COUNT.unpack_from(page)[0]
    ends = page[4 : 4 + 4 * count].cast("I")
    base = 4 + 4 * count
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        start = base + (ends[middle - 1] if middle else 0)
        found = _sort_key(page, start)
        if found == (True, name):
            return page[start : start + ENTRY_OUT.size]
        low, high = (middle + 1, high) if found < (True, name) else (low, middle)
    return None


def _sort_key(page: memoryview, start: int) -> tuple[bool, bytes]:
    name = _name_at(page, start)
    return name not in (b".", b".."), name


def _name_at(page: memoryview, start: int) -> bytes:
    length = _NAME_LENGTH.unpack_from(page, start + _NAME_LENGTH_AT)[0]
    return bytes(page[start + _HEAD : start + _HEAD + length])


def iter_records(data: memoryview | bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (name, record) of READDIRPLUS records end to end, as they are sent."""
    view = memoryview(data)
    start = 0
    while start < len(view):
        name = _name_at(view, start)
        end = start + align(_HEAD + len(name))
        yield name, view[start:end]
        start = end


def strip_attributes(data: memoryview | bytes, *, room: int) -> bytes:
    """Return READDIR records for READDIRPLUS records: the same without attributes, as many as fit into `room`."""
    parts: list[bytes] = []
    size = 0
    for _, record in iter_records(data):
        plain = bytes(record[ENTRY_OUT.size :])
        size += len(plain)
        if size > room:
            break
        parts.append(plain)
    return b"".join(parts)
