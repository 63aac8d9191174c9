"""Spans of time on the command line: `90s`, `15m`, `12h`, `30d`, `4w`, `1y`.

Threading: the main thread.
"""

from __future__ import annotations

import re
from typing import Any, Final

import click

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_PART: Final = re.compile(r"([0-9]+)([smhdwy])")


class Duration(click.ParamType[int]):
    """An option's span of time, given to the command in nanoseconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return nanoseconds; `1d12h` is a day and a half."""
        if isinstance(value, int):
            return value
        parts = _PART.findall(value)
        if not parts or "".join(number + unit for number, unit in parts) != value:
            self.fail(f"{value!r} is no span of time; write 90s, 15m, 12h, 30d, 4w or 1y", param, ctx)
        return sum(int(number) * _SECONDS[unit] for number, unit in parts) * 10**9


def format_age(age_ns: int) -> str:
    """Return a span of time in its largest unit, such as `3d`."""
    seconds = max(0, age_ns) // 10**9
    for unit in "ydhm":
        if seconds >= _SECONDS[unit]:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"
