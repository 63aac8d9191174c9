"""What is measured on a tree, and what it must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import workload
from tests.bench.workload import Shape, timed

Seconds = dict[str, list[float]]
"""Seconds of each run, by measure."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One way of reading.

    Attributes:
        key: its short name.
        title: what the tables call it.
        unit: of its speed.
        work: units that it does.
        warm: whether the plain tree is in the page cache by then.
    """

    key: str
    title: str
    unit: str
    work: Callable[[Shape], int]
    warm: bool = False


READING: Final = (
    Measure("walk", "walk and stat, fresh mount", "files/s", lambda shape: shape.file_count),
    Measure("small1", "small files, first epoch", "files/s", lambda shape: shape.file_count),
    Measure("small2", "small files, second epoch", "files/s", lambda shape: shape.file_count, warm=True),
    Measure("big1", "big file, first read", "MiB/s", lambda shape: shape.big_mib),
    Measure("big2", "big file, second read", "MiB/s", lambda shape: shape.big_mib, warm=True),
    Measure("random", "64 KiB at random places", "reads/s", lambda _: workload.RANDOM_COUNT, warm=True),
)
"""In the order in which they are taken on a mount whose data is nowhere in memory."""


def read_all(root: Path, seconds: Seconds) -> None:
    """Take all measures of reading on a tree that was mounted, or whose caches were dropped, just now."""
    add(seconds, "walk", lambda: workload.walk_and_stat(root))
    paths = workload.shuffled_files(root)
    add(seconds, "small1", lambda: workload.read_files(paths))
    add(seconds, "small2", lambda: workload.read_files(paths))
    add(seconds, "big1", lambda: workload.read_big(root))
    add(seconds, "big2", lambda: workload.read_big(root))
    add(seconds, "random", lambda: workload.read_random(root))


def add(seconds: Seconds, key: str, action: Callable[[], object]) -> None:
    """Time an action and note it."""
    seconds.setdefault(key, []).append(timed(action))


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the table of targets.

    Attributes:
        title: what is compared.
        key: our measure.
        peer: the plain tree's measure.
        ratio: least ratio of speeds.
        system: `kernel` or `fusepy`.
    """

    title: str
    key: str
    peer: str
    ratio: float
    system: str = "kernel"


TARGETS: Final = (
    Target("walk and stat, fresh mount, directories prepared", "walk-prepared", "walk", 0.8),
    Target("walk and stat, first time ever", "walk", "walk", 0.3),
    Target("small files, first epoch, caches dropped", "small1", "small1", 1.0),
    Target("small files, second epoch", "small2", "small2", 0.5),
    Target("big file, first read, caches dropped", "big1", "big1", 0.9),
    Target("big file with passthrough, warm", "big2-passthrough", "big2", 0.9),
    Target("put of the whole tree, against cp -r and sync", "put", "copy", 1.0),
    Target("walk and stat, first time ever", "walk", "walk", 0.1, "fusepy"),
    Target("small files, first epoch, stored files in the page cache", "small1-warm", "small2", 0.1, "fusepy"),
    Target("small files, second epoch", "small2", "small2", 0.5, "fusepy"),
    Target("big file, first read, caches dropped", "big1", "big1", 0.25, "fusepy"),
    Target("big file, second read", "big2", "big2", 0.3, "fusepy"),
)
AGAIN_SHARE: Final = 0.15
"""How much of the time of the first put an unchanged tree may take, at most."""
COMMAND_SECONDS: Final = 0.15
"""The longest that `artifactfs ls` may take on a warm index."""
