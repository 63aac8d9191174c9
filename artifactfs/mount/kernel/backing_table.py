"""Which large files are open, and by which backing ids: a table that all workers of a mount share.

Requests are handed out again when a worker dies, those that other workers hold as well. So an OPEN or a RELEASE can be
worked on twice, at once or one after the other, and both must count once: each open has a *handle*, the number of its
request, which is the same when it is sent again. Handles that were released lately are remembered, because a worker can
come late to an OPEN that another one has answered long ago.

Threading: `locked` keeps processes apart; the rest is called under it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLOTS: Final = 16384
"""Opens of large files that a mount has at once, at most."""
REMEMBERED: Final = 1024
"""Handles that were released lately. Far fewer requests are under way at once."""
_WORD: Final = struct.Struct("=Q")
_HANDLES, _NODES, _IDS, _RELEASED = (part * SLOTS * _WORD.size for part in range(4))
_NEXT: Final = _RELEASED + REMEMBERED * _WORD.size
SIZE: Final = _NEXT + _WORD.size
"""Bytes of the memory."""
_FREE: Final = 0


class BackingTable:
    """Node and backing id of each open, by handle.

    Threading: see the module. A process that is killed at any point leaves whole rows, because the handle, which makes
    a row valid, is written last and taken away first.
    """

    def __init__(self, descriptor: int) -> None:
        """Map the memfd `descriptor`, which stays open as long as this lives."""
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, SIZE)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock. Source: fcntl(2), F_SETLKW: the kernel frees it when the process dies."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def open(self, handle: int, node: int, *, register: Callable[[], int]) -> int | None:
        """Note an open and return its backing id; None when it was released already, so that nobody waits for it.

        Args:
            handle: number of the request, not 0.
            node: what is opened. All opens of a node have one id.
            register: makes an id, where no open of the node has one.

        Raises:
            OSError: ENFILE when too many are open; whatever `register` raises. Nothing is noted then.
        """
        if self._find(_RELEASED, REMEMBERED, handle) is not None:
            return None
        row = self._find(_HANDLES, SLOTS, handle)
        if row is not None:
            return self._get(_IDS, row)
        free = self._find(_HANDLES, SLOTS, _FREE)
        if free is None:
            raise OSError(errno.ENFILE, f"large files are open more than {SLOTS} times")
        shared = self._find_open(node)
        backing = self._get(_IDS, shared) if shared is not None else register()
        self._set(_NODES, free, node)
        self._set(_IDS, free, backing)
        self._set(_HANDLES, free, handle)
        return backing

    def release(self, handle: int) -> int | None:
        """Forget an open; return the id that nobody uses any more, if it was the last one."""
        row = self._find(_HANDLES, SLOTS, handle)
        if row is None:
            return None
        number = self._get(_NEXT, 0)
        self._set(_RELEASED, number % REMEMBERED, handle)
        self._set(_NEXT, 0, number + 1)
        self._set(_HANDLES, row, _FREE)
        return None if self._find_open(self._get(_NODES, row)) is not None else self._get(_IDS, row)

    def _find_open(self, node: int) -> int | None:
        """Return the row of any open of a node."""
        row = self._find(_NODES, SLOTS, node)
        while row is not None and self._get(_HANDLES, row) == _FREE:
            row = self._find(_NODES, SLOTS, node, row + 1)
        return row

    def _find(self, column: int, count: int, value: int, first: int = 0) -> int | None:
        """Return the first row from `first` on that has a value in a column."""
        wanted, position, end = _WORD.pack(value), column + first * _WORD.size, column + count * _WORD.size
        while (position := self._map.find(wanted, position, end)) >= 0:
            row, rest = divmod(position - column, _WORD.size)
            if not rest:
                return row
            position += 1
        return None

    def _get(self, column: int, row: int) -> int:
        found: int = _WORD.unpack_from(self._map, column + row * _WORD.size)[0]
        return found

    def _set(self, column: int, row: int, value: int) -> None:
        _WORD.pack_into(self._map, column + row * _WORD.size, value)


def create_backings() -> BackingTable:
    """Return an empty table. Source: memfd_create(2)."""
    descriptor = os.memfd_create("artifactfs-backings", os.MFD_CLOEXEC)
    os.truncate(descriptor, SIZE)
    return BackingTable(descriptor)
