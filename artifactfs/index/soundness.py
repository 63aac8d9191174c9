"""Whether the files below an open LMDB environment are still what was opened.

LMDB believes what it has mapped. Where somebody overwrites, cuts short or removes a file below it, it waits for ever in
a mutex made of rubbish, goes back to an older state, writes beside other processes, or is ended by SIGBUS. So both
files are looked at before each write, and before a read if that was not done in the last millisecond.

Used by `handles`. Threading: may be shared by threads, which look one at a time: sizes must not go back.

Source: MDB_txbody and MDB_meta in mdb.c of LMDB 0.9: the lock file begins with magic, format, a mutex (40 bytes on
Linux) and the number of the last transaction; the magic lies behind the header of the first two pages. fcntl(2):
closing any descriptor of a file gives up its locks, LMDB's among them, so this closes its own after the environment.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from contextlib import suppress
from typing import Final

import lmdb

from artifactfs.index.lockfile import LOCK_FILE

DATA_FILE: Final = "data.mdb"
PAUSE_SECONDS: Final = 0.001
"""Reads look so often at most."""
_FORMAT_SIZE: Final = 8
_LAST: Final = struct.Struct("=Q")
_LAST_OFFSET: Final = 48
_MAGIC: Final = struct.pack("=I", 0xBEEFC0DE)
_MAGIC_OFFSET: Final = 16


class Soundness:
    """Looks at the files of one environment. May be shared by threads."""

    def __init__(self, directory: str) -> None:
        """Open the lock file, which must be there; before LMDB does."""
        self._data_path = os.path.join(directory, DATA_FILE)
        self._lock_path = os.path.join(directory, LOCK_FILE)
        self._lock = os.open(self._lock_path, os.O_RDONLY | os.O_CLOEXEC)
        self._data = -1
        self._page_size = 0
        self._files = (0, 0)
        self._size = self._lock_size = self._last = 0
        self._format = b""
        self._knows_last = False
        self._looked = 0.0
        self._guard = threading.Lock()

    def begin(self, *, page_size: int, last: int) -> None:
        """Take the files as they are: LMDB has just opened and accepted them.

        Args:
            page_size: LMDB's.
            last: number of the last transaction; where it lies elsewhere in the lock file it is not looked at.
        """
        self._data = os.open(self._data_path, os.O_RDONLY | os.O_CLOEXEC)
        self._page_size = page_size
        self._files = os.fstat(self._data).st_ino, os.fstat(self._lock).st_ino
        self._size = os.fstat(self._data).st_size
        self._lock_size = os.fstat(self._lock).st_size
        self._format = os.pread(self._lock, _FORMAT_SIZE, 0)
        self._knows_last = self._read_last() == last
        self._looked = time.monotonic()

    def check(self, *, always: bool) -> None:
        """Return when the files are sound, or were looked at a moment ago, if that will do.

        Raises:
            lmdb.CorruptedError: one of them is not what was opened, and says which.
        """
        now = time.monotonic()
        if always or now - self._looked > PAUSE_SECONDS:
            with self._guard:
                self._look()
                self._looked = now

    def may_close(self) -> bool:
        """Return whether the environment can be closed: LMDB writes into the lock file that it has mapped."""
        try:
            self._look_at_lock(os.fstat(self._lock).st_size)
        except lmdb.CorruptedError:
            return False
        return True

    def _look(self) -> None:
        self._look_at_names()
        self._look_at_lock(os.fstat(self._lock).st_size)
        size = os.fstat(self._data).st_size
        if size < self._size:
            raise _damaged(self._data_path, "was cut short")
        for offset in (_MAGIC_OFFSET, self._page_size + _MAGIC_OFFSET):
            if os.pread(self._data, len(_MAGIC), offset) != _MAGIC:
                raise _damaged(self._data_path, "was overwritten")
        self._size = size

    def _look_at_names(self) -> None:
        """Refuse a pair of files of which one is another. Both may be gone: who has them open keeps what was there."""
        found = _find_inode(self._data_path), _find_inode(self._lock_path)
        same = [inode == opened for inode, opened in zip(found, self._files, strict=True)]
        if any(same) and not all(same):
            path, inode = (self._data_path, found[0]) if same[1] else (self._lock_path, found[1])
            raise _damaged(path, "was replaced" if inode else "was removed")

    def _look_at_lock(self, size: int) -> None:
        if size < self._lock_size:
            raise _damaged(self._lock_path, "was cut short")
        last = self._read_last() if self._knows_last else 0
        if os.pread(self._lock, _FORMAT_SIZE, 0) != self._format or last < self._last:
            raise _damaged(self._lock_path, "was overwritten")
        self._last = last

    def _read_last(self) -> int:
        data = os.pread(self._lock, _LAST.size, _LAST_OFFSET)
        return int(_LAST.unpack(data)[0]) if len(data) == _LAST.size else -1

    def close(self) -> None:
        """Close the descriptors; after the environment, or in a process that only inherited it."""
        for descriptor in (self._lock, self._data):
            with suppress(OSError):
                os.close(descriptor)
        self._lock = self._data = -1


def _find_inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _damaged(path: str, what: str) -> lmdb.CorruptedError:
    return lmdb.CorruptedError(f"{path} {what}")
