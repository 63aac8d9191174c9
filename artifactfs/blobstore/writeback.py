"""Having the kernel write a large file to the disk while more of it is made.

Otherwise the disk has nothing to do until a tenth of the memory waits for it, or until the file is synchronised. This
asks for no more than a beginning: what makes bytes durable stays fsync(2) and syncfs(2).

Used by `disk.py`. Threading: a Writeback belongs to the thread that writes the file.

Source: sync_file_range(2), with SYNC_FILE_RANGE_WRITE alone.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

STEP_SIZE: Final = 8 << 20
"""After so many new bytes the disk is told."""
_SYNC_FILE_RANGE_WRITE: Final = 2


class Writeback:
    """Tells the disk of the bytes of one file, as they are written. Belongs to one thread."""

    __slots__ = ("_begin", "_descriptor", "_told")

    def __init__(self, begin: Callable[[int, int, int], None], descriptor: int) -> None:
        """Store how to have bytes written (descriptor, offset, size), and the file."""
        self._begin = begin
        self._descriptor = descriptor
        self._told = 0

    def wrote(self, size: int) -> None:
        """Take note that the file has `size` bytes now."""
        if size - self._told >= STEP_SIZE:
            self._begin(self._descriptor, self._told, size - self._told)
            self._told = size


def find_writeback(library: ctypes.CDLL) -> Callable[[int, int, int], None]:
    """Return what begins to write bytes of a file out (descriptor, offset, size); it does nothing where it cannot.

    It waits only while the disk takes no more, without Python's lock. Errors show when the file is synchronised.
    """
    function = getattr(library, "sync_file_range", None) if sys.platform.startswith("linux") else None
    if function is None:
        return lambda descriptor, offset, size: None  # noqa: ARG005
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

    def begin(descriptor: int, offset: int, size: int) -> None:
        function(descriptor, offset, size, _SYNC_FILE_RANGE_WRITE)

    return begin
