"""Hunks of a unified diff.

Used by `textdiff`. Threading: functions without state.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CONTEXT: Final = 3
_COMPARED: Final = 20_000
"""With more lines between the first and the last that differ, all of them count as replaced: comparing takes a time
that grows with the square."""
_NO_NEWLINE: Final = b"\\ No newline at end of file\n"


def split_lines(data: bytes) -> list[bytes]:
    """Return lines with their ends; only a newline ends one, unlike bytes.splitlines."""
    lines = data.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def iter_hunks(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[bytes]:
    """Yield what differs between two lists of lines, with three lines around it."""
    start, end = _find_same(old, new)
    # The matcher sees what differs, with the context around it.
    skipped, kept = max(start - _CONTEXT, 0), max(end - _CONTEXT, 0)
    one, other = old[skipped : len(old) - kept], new[skipped : len(new) - kept]
    for group in _group(one, other, start - skipped, end - kept):
        first, last = group[0], group[-1]
        yield b"@@ -%s +%s @@\n" % (
            _range(skipped + first[1], skipped + last[2]),
            _range(skipped + first[3], skipped + last[4]),
        )
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                yield from _prefix(b" ", one[old_from:old_to])
                continue
            yield from _prefix(b"-", one[old_from:old_to])
            yield from _prefix(b"+", other[new_from:new_to])


_Step = tuple[str, int, int, int, int]


def _group(one: Sequence[bytes], other: Sequence[bytes], start: int, end: int) -> Iterator[list[_Step]]:
    """Return groups of steps; `start` and `end` lines are the same at the two ends."""
    if max(len(one), len(other)) <= _COMPARED:
        yield from SequenceMatcher(None, one, other).get_grouped_opcodes(_CONTEXT)
        return
    old_to, new_to = len(one) - end, len(other) - end
    steps = [
        ("equal", 0, start, 0, start),
        ("replace", start, old_to, start, new_to),
        ("equal", old_to, len(one), new_to, len(other)),
    ]
    yield [step for step in steps if step[1] < step[2] or step[3] < step[4]]


def _find_same(old: Sequence[bytes], new: Sequence[bytes]) -> tuple[int, int]:
    """Return how many lines are the same at the beginning, and at the end."""
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] == new[start]:
        start += 1
    end = 0
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return start, end


def _range(start: int, stop: int) -> bytes:
    length = stop - start
    if length == 1:
        return b"%d" % (start + 1)
    return b"%d,%d" % (start + 1 if length else start, length)


def _prefix(sign: bytes, lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield sign + line
        if not line.endswith(b"\n"):
            yield b"\n" + _NO_NEWLINE
