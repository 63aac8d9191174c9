"""A gate between transactions of many threads and what may only be done while none runs.

Used by `handles`. Threading: shared by threads.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Gate:
    """Lets transactions of many threads run together, and resizing or closing alone. Shared by threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._running = 0
        self._is_alone = False

    def enter(self) -> None:
        """Begin a transaction; waits while somebody is alone. A thread must not enter twice."""
        with self._changed:
            while self._is_alone:
                self._changed.wait()
            self._running += 1

    def leave(self) -> None:
        """End a transaction."""
        with self._changed:
            self._running -= 1
            if self._is_alone:
                self._changed.notify_all()

    @contextmanager
    def last(self) -> Iterator[None]:
        """From inside a transaction, wait until all others have ended, and keep new ones out meanwhile.

        For the one write transaction that a process can have. When somebody waits to be alone, no new ones come anyway.
        """
        with self._changed:
            is_mine = not self._is_alone
            self._is_alone = True
            while is_mine and self._running > 1:
                self._changed.wait()
        try:
            yield
        finally:
            if is_mine:
                self._reopen()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no transaction runs, and keep new ones out meanwhile."""
        with self._changed:
            while self._is_alone:
                self._changed.wait()
            self._is_alone = True
            while self._running:
                self._changed.wait()
        try:
            yield
        finally:
            self._reopen()

    def _reopen(self) -> None:
        with self._changed:
            self._is_alone = False
            self._changed.notify_all()
