"""Figures as Markdown: medians over interleaved runs, and ratios of speeds within a run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tests.bench.measures import COMMAND_SECONDS, READING, TARGETS, Seconds, Target
from tests.bench.workload import Shape


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Return the median over the runs of the ratio of speeds: the peer's seconds over ours."""
    return statistics.median(theirs / mine for mine, theirs in zip(ours, peer, strict=True))


def format_targets(results: dict[str, Seconds], plain: Seconds) -> str:
    """Return the table of what must be reached: the results of the transports beside those of the plain tree."""
    rows = [["transport", "what", "ext4", "artifactfs", "ratio of speeds", "at least", "reached"]]
    for target in TARGETS:
        seconds = results.get(target.system, {})
        if target.key in seconds and target.peer in plain:
            rows.append(_target_row(target, seconds[target.key], plain[target.peer]))
    for system, seconds in results.items():
        if "ls" in seconds:
            spent = statistics.median(seconds["ls"])
            reached = "yes" if spent <= COMMAND_SECONDS else "NO"
            rows.append(
                [system, "`artifactfs ls`, warm index", "", f"{spent:.3f} s", "", f"{COMMAND_SECONDS} s", reached]
            )
    return _format(rows)


def _target_row(target: Target, ours: Sequence[float], peer: Sequence[float]) -> list[str]:
    value = ratio(ours, peer)
    spent = [f"{statistics.median(seconds):.2f} s" for seconds in (peer, ours)]
    reached = "yes" if value >= target.ratio else "NO"
    return [target.system, target.title, *spent, f"{value:.2f}", f"{target.ratio:.2f}", reached]


def format_systems(results: dict[str, Seconds], shape: Shape) -> str:
    """Return the table of all systems: the median speed of each way of reading."""
    rows = [["system", *(f"{measure.title} ({measure.unit})" for measure in READING)]]
    for name, seconds in results.items():
        speeds = [measure.work(shape) / statistics.median(seconds[measure.key]) for measure in READING]
        rows.append([name, *(f"{speed:,.0f}" for speed in speeds)])
    return _format(rows)


def _format(rows: list[list[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
