"""Reads that failed a moment ago, after somebody waited for them: the next one of the same part fails at once.

When what the kernel reads ahead fails, it asks again for the page that a program waits for, and for each part that it
had asked for beside it. So the program would wait for the same deadline twice, or more often.

Used by whatever answers reads. Threading: a Failures may be shared by threads: each operation is one on a dict.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

SLOW_SECONDS: Final = 0.5
"""What failed sooner than this can be tried again."""
REMEMBERED_SECONDS: Final = 1.0
_COUNT: Final = 1024


class Failures:
    """Errnos of what failed lately. May be shared by threads."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        """Store a clock that never goes back."""
        self._now = now
        self._failed: dict[Hashable, tuple[int, float]] = {}

    def find(self, key: Hashable) -> int:
        """Return the errno with which something failed a moment ago; 0 if it did not."""
        number, failed_at = self._failed.get(key, (0, 0.0))
        return number if number and self._now() - failed_at < REMEMBERED_SECONDS else 0

    def note(self, key: Hashable, number: int, *, begun: float) -> None:
        """Note that something failed with an errno now, if somebody waited for it since `begun`."""
        now = self._now()
        if now - begun < SLOW_SECONDS:
            return
        if len(self._failed) >= _COUNT:
            self._failed.clear()
        self._failed[key] = number, now
