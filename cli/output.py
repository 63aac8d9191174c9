"""Printing: results on standard output, as text or as JSON.

JSON documents are objects with `"schema": 1` and the members that `repository/described.py` makes.

Threading: the main thread prints; the rest is pure.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from artifactfs.clock import format_time_ns
from artifactfs.model import DirectoryEntry, SymlinkEntry
from artifactfs.repository.described import entry_fields, kind_of, name_fields, version_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from artifactfs.model import Entry

SCHEMA: Final = 1
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def print_json(members: Mapping[str, Any]) -> None:
    """Print one JSON document on standard output."""
    data = msgspec.json.encode({"schema": SCHEMA, **members})
    click.echo(msgspec.json.format(data, indent=2))


def print_path(path: str | bytes) -> None:
    """Print a local path on standard output, byte for byte, so that a script can use it."""
    click.echo(os.fsencode(path))


def write_bytes(data: bytes) -> None:
    """Write all of `data` to standard output."""
    rest = memoryview(data)
    while rest:  # with PYTHONUNBUFFERED, a write to a pipe may take a part only
        rest = rest[sys.stdout.buffer.write(rest) or 0 :]


def format_size(size: int) -> str:
    """Return a number of bytes for people.

    >>> format_size(999), format_size(1536)
    ('999 B', '1.5 KiB')
    """
    amount, unit = float(size), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{size} B"


def format_count(count: int, noun: str) -> str:
    """Return a number with its noun: `1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_mode(entry: Entry) -> str:
    """Return kind and permission bits as ls(1) has them: `-rw-r--r--`."""
    first = "d" if isinstance(entry, DirectoryEntry) else "l" if isinstance(entry, SymlinkEntry) else "-"
    bits = "".join(letter if entry.mode >> 8 - place & 1 else "-" for place, letter in enumerate("rwxrwxrwx"))
    return first + bits


def format_moment(time_ns: int) -> str:
    """Return a time to the second, in UTC: `2026-11-23T17:59:01Z`."""
    return format_time_ns(time_ns)[:-8] + "Z"


def print_table(rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print rows in columns, those numbered in `right` flush right."""
    kept = [tuple(row) for row in rows]
    if not kept:
        return
    widths = [max(len(row[column]) for row in kept) for column in range(len(kept[0]))]
    for row in kept:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def size_of(entry: Entry) -> int:
    """Return an entry's size in bytes; of a link, that of its target's text."""
    return len(entry.target) if isinstance(entry, SymlinkEntry) else entry.size


__all__ = [
    "entry_fields",
    "format_count",
    "format_mode",
    "format_moment",
    "format_size",
    "kind_of",
    "name_fields",
    "print_json",
    "print_path",
    "print_table",
    "size_of",
    "version_fields",
    "write_bytes",
]
