"""Printing: results on standard output, as text or as JSON.

JSON documents are objects with `"schema": 1`, to which members are only ever added. Times are RFC 3339 in UTC. A
name or path that is not UTF-8 is given twice: escaped for people, and in `<member>_base64` for programs.

Threading: the main thread prints; the rest is pure.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from artifactfs.clock import format_time_ns
from artifactfs.digest import Digest
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import printable
from artifactfs.reference.base import is_unverified
from artifactfs.reference.uris import redact_uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artifactfs.model import Collection, Entry, Origin, Version

SCHEMA: Final = 1
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def print_json(members: dict[str, Any]) -> None:
    """Print one JSON document on standard output."""
    data = msgspec.json.encode({"schema": SCHEMA, **members})
    click.echo(msgspec.json.format(data, indent=2))


def print_path(path: str | bytes) -> None:
    """Print a local path on standard output, byte for byte, so that a script can use it."""
    click.echo(os.fsencode(path))


def name_fields(member: str, name: str | bytes) -> dict[str, str]:
    r"""Return a name or path as members of a JSON object.

    >>> name_fields("path", b"a\xff")
    {'path': 'a\\xff', 'path_base64': 'Yf8='}
    """
    data = os.fsencode(name)
    try:
        return {member: data.decode()}
    except UnicodeDecodeError:
        return {member: printable(data), f"{member}_base64": base64.b64encode(data).decode()}


def kind_of(entry: Entry) -> str:
    """Return the word for an entry's kind."""
    if isinstance(entry, DirectoryEntry):
        return "directory"
    if isinstance(entry, SymlinkEntry):
        return "symlink"
    return "reference" if isinstance(entry, ReferenceEntry) else "file"


def entry_fields(path: bytes, entry: Entry) -> dict[str, Any]:
    """Return an entry as members of a JSON object."""
    fields: dict[str, Any] = {
        **name_fields("path", path),
        "kind": kind_of(entry),
        "mode": f"{entry.mode:04o}",
        "modified": format_time_ns(entry.mtime_ns, digits=9),
    }
    if isinstance(entry, SymlinkEntry):
        return {**fields, **name_fields("target", entry.target)}
    fields |= {"size": entry.size, "digest": str(entry.digest)}
    if isinstance(entry, DirectoryEntry):
        fields |= {"files": entry.count, "content_digest": str(Digest(entry.content))}
    if isinstance(entry, ReferenceEntry):
        validator = {"kind": entry.validator.kind, "value": entry.validator.value}
        fields |= {"uri": redact_uri(entry.uri), "validator": validator, "unverified": is_unverified(entry)}
    return fields


def version_fields(collection: Collection, version: Version) -> dict[str, Any]:
    """Return a version as members of a JSON object."""
    root = version.root
    return {
        "ref": f"{collection.name}:{version.name}",
        "collection": collection.name,
        "version": version.name,
        "type": collection.type,
        "aliases": collection.aliases_of(version.number),
        "digest": root.tree,
        "content_digest": root.content,
        "size": root.size,
        "files": root.count,
        "created": format_time_ns(version.time_ns),
        "author": version.author,
        "message": version.message,
        "description": version.description,
        "metadata": version.metadata,
        "tags": list(version.tags),
        "base": None if version.base is None else f"{collection.name}:v{version.base}",
        "run": version.run,
        "inputs": list(version.inputs),
        "expires": None if version.expires_ns is None else format_time_ns(version.expires_ns),
        "origin": None if version.origin is None else _origin_fields(version.origin),
    }


def _origin_fields(origin: Origin) -> dict[str, Any]:
    return {
        "repository": origin.repository,
        "ref": f"{origin.collection}:v{origin.version}",
        "author": origin.author,
        "created": format_time_ns(origin.time_ns),
        "base": None if origin.base is None else f"{origin.collection}:v{origin.base}",
        "inputs": list(origin.inputs),
        "run": origin.run,
    }


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
    "FileEntry",
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
]
