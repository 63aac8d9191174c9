"""When a collection of a remote repository is looked at again.

Used by `states.py`. Threading: may be shared by threads: each operation is one on a dict.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Polling:
    """Remembers when each collection's state was last compared with its log. May be shared by threads."""

    def __init__(self, seconds: float, *, now: Callable[[], float] = time.monotonic) -> None:
        """Store how long a state is taken to be the present one, and a clock that never goes back."""
        self._seconds = seconds
        self._now = now
        self._looked_at: dict[str, float] = {}

    def is_fresh(self, name: str) -> bool:
        """Return whether a collection was looked at a short while ago."""
        looked_at = self._looked_at.get(name)
        return looked_at is not None and self._now() - looked_at < self._seconds

    def is_compared(self, name: str) -> bool:
        """Return whether this process has compared the collection's state with its log."""
        return name in self._looked_at

    def note(self, name: str) -> None:
        """Take a collection as looked at now."""
        if self._seconds:
            self._looked_at[name] = self._now()

    def clear(self) -> None:
        """Look at everything again."""
        self._looked_at.clear()
