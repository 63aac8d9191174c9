"""inotify: learning at once that another process has created a file in a directory.

Used by the notifier. Where inotify cannot be had (its limits are per user), the caller polls.

Threading: one thread. Source: inotify(7).
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
from contextlib import suppress
from typing import Final

_IN_CLOEXEC, _IN_NONBLOCK = 0o2000000, 0o4000
_CREATE_MASK: Final = 0x100 | 0x80 | 0x200 | 0x40
"""IN_CREATE, IN_MOVED_TO, IN_DELETE, IN_MOVED_FROM."""
_EVENT = struct.Struct("=iIII")
_READ_BYTES: Final = 64 << 10


class Watcher:
    """Watches directories for names that come and go.

    Threading: one thread.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._descriptor: int | None = None
        self._watched: dict[str, int] = {}
        self._library = ctypes.CDLL(None, use_errno=True)

    def open(self) -> None:
        """Begin.

        Raises:
            OSError: EMFILE, the user has too many instances.
        """
        descriptor = self._library.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._descriptor = descriptor

    def watch(self, directories: list[str]) -> tuple[bool, bool]:
        """Watch exactly these directories; return whether all of them are watched, and whether one was added."""
        if self._descriptor is None:
            return False, False
        for gone in self._watched.keys() - set(directories):
            self._library.inotify_rm_watch(self._descriptor, self._watched.pop(gone))
        complete, grown = True, False
        for path in set(directories) - self._watched.keys():
            number = self._library.inotify_add_watch(self._descriptor, os.fsencode(path), _CREATE_MASK)
            if number < 0:
                complete = False
            else:
                self._watched[path] = number
                grown = True
        return complete, grown

    def wait(self, seconds: float) -> bool:
        """Wait until something happens, at most so long; return whether it did. Events are consumed."""
        if self._descriptor is None:
            select.select([], [], [], seconds)
            return True
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if ready:
            with suppress(BlockingIOError):
                self._drain(self._descriptor)
        return bool(ready)

    def _drain(self, descriptor: int) -> None:
        while data := os.read(descriptor, _READ_BYTES):
            self._forget_removed(data)

    def _forget_removed(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, position)
            if mask & 0x8000:  # IN_IGNORED: the directory is gone
                self._watched = {path: watch for path, watch in self._watched.items() if watch != number}
            position += _EVENT.size + length

    def close(self) -> None:
        """End all watches."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
