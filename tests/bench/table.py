"""Rows of results: medians over interleaved runs, as ratios to what they are compared with."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass(slots=True)
class Row:
    """One figure: our seconds and the peer's, run by run.

    `target` is the least ratio of speeds (peer's seconds over ours) that must be reached, or, when
    `absolute`, the largest number of seconds.
    """

    name: str
    peer_name: str
    target: float
    unit: str = ""
    work: float = 1.0
    absolute: bool = False
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The median ratio of speeds, or the median seconds when absolute."""
        if self.absolute:
            return statistics.median(self.ours)
        return statistics.median(b / a for a, b in zip(self.ours, self.peer, strict=True))

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        return self.value <= self.target if self.absolute else self.value >= self.target

    def cells(self) -> list[str]:
        """Return the row of the table as text."""
        ours = statistics.median(self.ours)
        if self.absolute:
            return [self.name, f"{ours:.3f} s", "", f"{self.value:.3f} s", f"<= {self.target} s", self._mark()]
        peer = statistics.median(self.peer)
        return [
            self.name,
            self._speed(ours),
            f"{self._speed(peer)} ({self.peer_name})",
            f"{self.value:.2f}",
            f">= {self.target:.2f}",
            self._mark(),
        ]

    def _speed(self, seconds: float) -> str:
        return f"{self.work / seconds:,.0f} {self.unit}" if self.unit else f"{seconds:.2f} s"

    def _mark(self) -> str:
        return "yes" if self.reached else "NO"


def format_table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [["what", "artifactfs", "compared with", "ratio of speeds", "at least", "reached"]]
    lines.append(["---"] * 6)
    lines += [row.cells() for row in rows if row.ours]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
