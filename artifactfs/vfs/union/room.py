"""The quota of a union: writes that would exceed it are refused before they happen.

What is written is added up; what is removed is not taken off, but noted, and when the sum reaches the quota the upper
directory is measured. So writing costs one fstat(2), and measuring is done only when it can change the answer.

Used by the union. Threading: shared by all threads.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from artifactfs.staging.quota import SECTOR, measure

if TYPE_CHECKING:
    from artifactfs.model import FileEntry, ReferenceEntry


class Room:
    """How much may still be written. Shared by threads.

    Args:
        upper: the upper directory.
        quota: bytes; None for no limit.
    """

    def __init__(self, upper: bytes, quota: int | None) -> None:
        self._upper = upper
        self._quota = quota
        self._guard = threading.Lock()
        self._used = measure(upper) if quota is not None else 0
        self._has_freed = False

    def take_for_write(self, descriptor: int, *, offset: int, size: int) -> int:
        """Return how many of `size` bytes may be written at `offset`: all, or as many as there is room for.

        Raises:
            OSError: EDQUOT: none.
        """
        if self._quota is None:
            return size
        status = os.fstat(descriptor)
        is_dense = status.st_blocks * SECTOR >= status.st_size
        if is_dense and offset + size <= status.st_size:
            return size  # it takes no room
        return self._take(size)

    def take_for_copy(self, entry: FileEntry | ReferenceEntry) -> None:
        """Take room for a copy of a file of the version.

        Raises:
            OSError: EDQUOT.
        """
        if self._quota is not None and self._take(entry.size) < entry.size:
            self.give_back()
            raise _full()

    def give_back(self) -> None:
        """Note that something was removed or cut off."""
        self._has_freed = True

    def _take(self, size: int) -> int:
        assert self._quota is not None
        with self._guard:
            if self._used + size > self._quota and self._has_freed:
                self._has_freed = False
                self._used = measure(self._upper)
            taken = min(size, self._quota - self._used)
            if taken <= 0 < size:
                raise _full()
            self._used += taken
            return taken


def _full() -> OSError:
    return OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
