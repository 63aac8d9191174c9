"""How far long work has come: what put, checkout and verify tell whoever shows it.

Used by the command line. Threading: called from several threads, one call at a time is not guaranteed.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress(Protocol):
    """Shows progress."""

    def begin(self, *, files: int, size: int) -> None:
        """Take the totals: number of files and bytes. Called once, before the first `advance`."""

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """Take what was done since the last call."""


class NoProgress:
    """Shows nothing."""

    def begin(self, *, files: int, size: int) -> None:
        """Do nothing."""

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """Do nothing."""


class CountingReader(io.RawIOBase):
    """A binary file that tells how many bytes are read from it. Belongs to one thread."""

    def __init__(self, source: io.FileIO, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._source = source
        self._tell = tell

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read into `buffer` and return the number of bytes; 0 at the end."""
        count = self._source.readinto(cast("bytearray", buffer)) or 0
        self._tell(count)
        return count


def counting(source: io.FileIO, tell: Callable[[int], None] | None) -> BinaryIO:
    """Return `source`, or a reader of it that tells how many bytes are read."""
    return cast("BinaryIO", source if tell is None else CountingReader(source, tell))
