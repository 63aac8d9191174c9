"""Counting what happened lately, so that what does not help is not done for ever.

Used by what goes on in another epoch, on either transport. Threading: a Lately belongs to one thread at a time.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final

RENEWALS: Final = 6
"""More renewals of a mount within `PERIOD_SECONDS` do not help."""
PERIOD_SECONDS: Final = 60.0


class Lately:
    """When something happened the last few times."""

    def __init__(self, limit: int) -> None:
        """Nothing has happened yet; `limit` times within `PERIOD_SECONDS` are too often."""
        self._times: deque[float] = deque(maxlen=limit)

    def note(self) -> None:
        """Say that it happens now."""
        self._times.append(time.monotonic())

    def clear(self) -> None:
        """Forget all of it."""
        self._times.clear()

    @property
    def is_too_often(self) -> bool:
        """Whether it happened as often as the limit says."""
        return len(self._times) == self._times.maxlen and time.monotonic() - self._times[0] < PERIOD_SECONDS
