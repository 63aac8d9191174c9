"""Figures as Markdown: medians over interleaved runs, and ratios of speeds within a run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tests.bench.kills import Kills
from tests.bench.measures import AGAIN_SHARE, COMMAND_SECONDS, READING, TARGETS, Seconds, Target
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
        if "put-again" in seconds:
            rows.append(_again_row(system, seconds))
        if "ls" in seconds:
            spent = statistics.median(seconds["ls"])
            reached = "yes" if spent <= COMMAND_SECONDS else "NO"
            rows.append(
                [system, "`artifactfs ls`, warm index", "", f"{spent:.3f} s", "", f"{COMMAND_SECONDS} s", reached]
            )
    return format_table(rows)


def _again_row(system: str, seconds: Seconds) -> list[str]:
    share = 1 / ratio(seconds["put-again"], seconds["put"])
    reached = "yes" if share <= AGAIN_SHARE else "NO"
    spent = statistics.median(seconds["put-again"])
    title = "put of the same tree again, share of the first time"
    return [system, title, "", f"{spent:.2f} s", f"{share:.2f}", f"at most {AGAIN_SHARE}", reached]


def _target_row(target: Target, ours: Sequence[float], peer: Sequence[float]) -> list[str]:
    value = ratio(ours, peer)
    spent = [f"{statistics.median(seconds):.2f} s" for seconds in (peer, ours)]
    reached = "yes" if value >= target.ratio else "NO"
    return [target.system, target.title, *spent, f"{value:.2f}", f"{target.ratio:.2f}", reached]


def format_kills(runs: Sequence[Kills]) -> str:
    """Return one line on what readers saw of killed workers, in all runs."""
    killed, read = sum(run.killed for run in runs), sum(run.read for run in runs)
    failed, longest = sum(run.failed for run in runs), max(run.longest_seconds for run in runs)
    return (
        f"Workers of the kernel transport killed under readers: {killed}; of {read:,} reads that were compared "
        f"{failed} failed or were wrong, and the longest took {longest:.2f} s."
    )


def format_systems(results: dict[str, Seconds], shape: Shape) -> str:
    """Return the table of all systems: the median speed of each way of reading."""
    rows = [["system", *(f"{measure.title} ({measure.unit})" for measure in READING)]]
    for name, seconds in results.items():
        speeds = [measure.work(shape) / statistics.median(seconds[measure.key]) for measure in READING]
        rows.append([name, *(f"{speed:,.0f}" for speed in speeds)])
    return format_table(rows)


def format_table(rows: list[list[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
