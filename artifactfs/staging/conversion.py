"""Turning the union's marks into those of the kernel's overlayfs, so that a privileged mount goes on with its work.

Whiteouts are the same in both; opaque directories and redirects are attributes of another name; the inode numbers that
the union keeps are of no use to the kernel. The new marks are made first, then the file `driver` is replaced, then the
old marks go: a crash in between leaves marks that one of the drivers can go on with.

Used by mount, before it serves a staging directory by overlayfs. Threading: functions without state; the caller holds
the staging directory, and may write `trusted.*` attributes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.staging.files import iter_below, sync_directory
from artifactfs.staging.layout import OVERLAY, UNION, read_driver, write_driver
from artifactfs.staging.marks import TRUSTED, USER, copy_marks, remove_marks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.staging.layout import Layout


def convert_to_overlay(layout: Layout, upper: bytes) -> bool:
    """Give an upper directory the marks that the kernel's overlayfs understands; return whether it had others.

    Raises:
        OSError: marks cannot be written; the union can go on.
    """
    if read_driver(layout) != UNION:
        return False
    for path in _iter_directories(upper):
        if copy_marks(path, source=USER, target=TRUSTED):
            sync_directory(path)
    write_driver(layout, OVERLAY)
    for path in _iter_all(upper):
        with suppress(OSError):  # what is left over hides nothing
            remove_marks(path, prefix=USER)
    return True


def _iter_directories(upper: bytes) -> Iterator[bytes]:
    yield upper
    for path, is_directory in iter_below(upper):
        if is_directory:
            yield path


def _iter_all(upper: bytes) -> Iterator[bytes]:
    yield upper
    for path, _ in iter_below(upper):
        yield path
