"""Printing what changed between two trees, for `diff` and `status`.

Threading: the main thread prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from artifactfs.model import DirectoryEntry
from artifactfs.paths import printable
from artifactfs.repository.described import change_fields

from .output import format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.repository.diff import Change

LETTERS: Final = {
    "added": "A",
    "deleted": "D",
    "modified": "M",
    "renamed": "R",
    "type-changed": "T",
    "mode-changed": "P",
}


def print_changes(changes: Sequence[Change], *, indent: str = "", sizes: bool = False) -> None:
    """Print one line for each change: a letter and the path, and with `sizes` how many bytes before and now."""
    for change in changes:
        click.echo(indent + format_change(change) + (f"  ({_format_sizes(change)})" if sizes else ""))


def _format_sizes(change: Change) -> str:
    """Return `12 B -> 1.0 KiB`, with a dash for what is not there."""
    before, now = (
        "-" if entry is None else format_size(getattr(entry, "size", 0)) for entry in (change.old, change.new)
    )
    return f"{before} -> {now}"


def format_change(change: Change) -> str:
    """Return a change as a line: `M  cat.png`."""
    slash = "/" if isinstance(change.new or change.old, DirectoryEntry) else ""
    path = printable(change.path) + slash
    if change.old_path is not None:
        path = f"{printable(change.old_path)}{slash} -> {path}"
    return f"{LETTERS[change.kind]}  {path}"


__all__ = ["LETTERS", "change_fields", "format_change", "print_changes"]
