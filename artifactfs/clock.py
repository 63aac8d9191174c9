"""Time as a dependency: a protocol, and the system's clock.

Used by everything that stamps records or waits, so that tests can fix the time.
Threading: the system clock may be shared.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NANOSECONDS = 1_000_000_000


class Clock(Protocol):
    """Where the time comes from."""

    def now_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""


class SystemClock:
    """The operating system's clock."""

    def now_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        time.sleep(seconds)


def find_elapsed() -> float:
    """Return seconds of a clock that never goes back, and that goes on while the machine is suspended.

    What is tried again until a deadline must not be tried when a laptop is opened hours later: others count on that.

    Source: clock_gettime(2). Where there is no CLOCK_BOOTTIME, suspended time may not count.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def format_time_ns(time_ns: int, *, digits: int = 6) -> str:
    """Return a time as RFC 3339 in UTC, such as `2026-11-23T17:59:01.000000Z`, with up to 9 digits of the second.

    Source: RFC 3339.
    """
    seconds, rest = divmod(time_ns, NANOSECONDS)
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}"[: 20 + digits] + "Z"
