"""Lanes: threads of the fetcher, some for each place that content comes from.

A place that stalls holds up nobody but those who wait for it.

Threading: made and fed by one thread; the work is done by threads of their own.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
IDLE_SECONDS: Final = 10.0
"""A thread that has had nothing to do for so long ends; its memory goes with it."""


class Lane(Generic[T]):
    """Work for one place, done by up to `limit` threads, which come and go.

    Threading: may be fed by any thread.
    """

    def __init__(self, name: str, *, limit: int, serve: Callable[[Callable[[], T | None]], None]) -> None:
        """Store how many threads there may be, and what each runs: it is given what returns the next work, or None."""
        self._name = name
        self._limit = limit
        self._serve = serve
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0

    def put(self, work: T) -> None:
        """Have a piece of work done."""
        with self._changed:
            self._waiting.append(work)
            if self._idle >= len(self._waiting):
                self._changed.notify()
                return
            if self._threads >= self._limit:
                return
            self._threads += 1
        threading.Thread(target=self._run, name=f"fetch {self._name}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._serve(self._take)
        except BaseException:
            with self._changed:
                self._threads -= 1
            raise

    def _take(self) -> T | None:
        """Return the next work; None tells the thread to end, which is then counted no more."""
        with self._changed:
            while not self._waiting:
                self._idle += 1
                woken = self._changed.wait(IDLE_SECONDS)
                self._idle -= 1
                if not woken and not self._waiting:
                    self._threads -= 1
                    return None
            return self._waiting.popleft()
