"""Answering prunes: in which versions of a mount of the whole repository do processes stand.

Used by `keeper`. Threading: an Answerer belongs to one thread.
"""

from __future__ import annotations

import ctypes
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.mount.holds import number_of
from artifactfs.mount.shown import iter_inside

if TYPE_CHECKING:
    from artifactfs.mount.holds import Holds
    from artifactfs.mount.orders import Order

_log = logging.getLogger(__name__)
_CLOEXEC_NONBLOCK: Final = 0o2004000
_IN_OPEN: Final = 0x20


class Answerer:
    """Says on a file of locks what one mount shows. Belongs to one thread.

    Args:
        holds: of the server; what is held lasts as long as any of its processes.
        order: what is served.
    """

    def __init__(self, holds: Holds, order: Order) -> None:
        self._holds = holds
        self._mountpoint = order.mountpoint
        self._number = mount_number(order)
        self._inside: set[tuple[str, int]] = set()
        self._answered: set[int] = set()
        self._descriptor = _watch_opens(holds.descriptor)

    def fileno(self) -> int:
        """Return what can be read when somebody may be asking; -1 when that is not told."""
        return self._descriptor

    def answer(self) -> None:
        """Answer whoever asks."""
        if self._descriptor >= 0:
            with suppress(BlockingIOError):
                os.read(self._descriptor, 1 << 16)
        questions = self._holds.find_questions()
        if questions - self._answered:
            inside = set(iter_inside([self._mountpoint]))
            self._holds.hold(inside - self._inside)
            self._holds.release(self._inside - inside)
            self._inside = inside
        for question in questions - self._answered:
            self._holds.answer(question, self._number)
        for question in self._answered - questions:
            self._holds.forget(question, self._number)
        self._answered = questions

    def close(self) -> None:
        """Answer no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)


def mount_number(order: Order) -> int:
    """Return the number by which a mount is known to those who ask."""
    return number_of(os.path.realpath(order.runtime), order.mountpoint)


def _watch_opens(descriptor: int) -> int:
    """Return an inotify descriptor that tells of each open(2) of a file; -1 where there is none."""
    library = ctypes.CDLL(None, use_errno=True)
    found: int = library.inotify_init1(_CLOEXEC_NONBLOCK)
    if found >= 0 and library.inotify_add_watch(found, f"/proc/self/fd/{descriptor}".encode(), _IN_OPEN) >= 0:
        return found
    _log.warning("inotify cannot be used (%s); prunes are answered every few seconds", os.strerror(ctypes.get_errno()))
    if found >= 0:
        os.close(found)
    return -1
