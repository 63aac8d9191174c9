"""A chart of all systems as SVG: for each way of reading, bars of speed beside ext4."""

from __future__ import annotations

import statistics
from html import escape
from typing import Final

from tests.bench.measures import READING, Seconds
from tests.bench.workload import Shape

_WIDTH: Final = 860
_LABEL: Final = 170
_BAR: Final = 16
_GAP: Final = 6
_PANEL_GAP: Final = 44
_ROOM: Final = 110
"""Pixels kept free to the right of the longest bar, for its figure."""
_COLOURS: Final = {"ext4": "#8a8f98", "artifactfs": "#1f6feb", "": "#c9a227"}


def draw(results: dict[str, Seconds], shape: Shape, *, caption: str) -> str:
    """Return the chart; a longer bar is faster, and each panel has a scale of its own."""
    parts: list[str] = []
    top = 40
    for measure in READING:
        parts.append(_text(0, top, f"{measure.title} ({measure.unit})", weight="bold"))
        top += 12
        speeds = {name: measure.work(shape) / statistics.median(found[measure.key]) for name, found in results.items()}
        for name, speed in speeds.items():
            parts.append(_bar(top, name, speed, longest=max(speeds.values())))
            top += _BAR + _GAP
        top += _PANEL_GAP - 12
    parts.insert(0, _text(0, 14, caption, size=11))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#ffffff"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def _bar(top: int, name: str, speed: float, *, longest: float) -> str:
    width = max(1, round((_WIDTH - _LABEL - _ROOM) * speed / longest))
    colour = next(colour for start, colour in _COLOURS.items() if name.startswith(start))
    middle = top + _BAR - 4
    return (
        f'<text x="{_LABEL - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_LABEL}" y="{top}" width="{width}" height="{_BAR}" rx="2" fill="{colour}"/>'
        f'<text x="{_LABEL + width + 6}" y="{middle}">{speed:,.0f}</text>'
    )


def _text(left: int, top: int, text: str, *, size: int = 13, weight: str = "normal") -> str:
    return f'<text x="{left + 10}" y="{top}" font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
