"""Numbers and times for people, in English, as the front end's `format.js` writes them for a reader of English.

The front end writes them again as this browser's user has them.

Used by `opening`. Threading: pure functions.
"""

from __future__ import annotations

import math
from typing import Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DAY: Final = 86400
_STEPS: Final = (
    (60, "second", 1),
    (3600, "minute", 60),
    (_DAY, "hour", 3600),
    (_DAY * 30, "day", _DAY),
    (_DAY * 365, "month", _DAY * 30),
    (math.inf, "year", _DAY * 365),
)
_NOW: Final = {"second": "now", "day": "today"}
_NEAR: Final = {("day", 1): "yesterday", ("month", 1): "last month", ("year", 1): "last year"}


def format_size(count: int) -> str:
    """Return a number of bytes in powers of 1,024.

    >>> [format_size(count) for count in (0, 999, 1000, 1536, 5 << 30)]
    ['0 B', '999 B', '1.0 KiB', '1.5 KiB', '5.0 GiB']
    """
    amount, unit = float(count), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def format_ago(seconds: float) -> str:
    """Return how long ago something was.

    >>> [format_ago(seconds) for seconds in (0, 1, 60, 7000, 86400, 86400 * 3, 86400 * 40, 86400 * 800)]
    ['now', '1 second ago', '1 minute ago', '2 hours ago', 'yesterday', '3 days ago', 'last month', '2 years ago']
    """
    _, unit, step = next(each for each in _STEPS if abs(seconds) < each[0])
    number = math.ceil(seconds / step - 0.5)  # as Math.round does for what is negative
    if number == 0:
        return _NOW.get(unit, f"this {unit}")
    if (unit, number) in _NEAR:
        return _NEAR[unit, number]
    named = f"{abs(number):,} {unit}{'' if abs(number) == 1 else 's'}"
    return f"{named} ago" if number > 0 else f"in {named}"


def format_count(number: int, noun: str) -> str:
    """Return a number of things.

    >>> [format_count(number, "version") for number in (1, 0, 12345)]
    ['1 version', '0 versions', '12,345 versions']
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
