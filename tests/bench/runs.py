"""Measure what recording costs: `python -m tests.bench.runs [--runs 5] [--files 20000] [--warm]`.

Small files are read twice, in one random order, by the same program outside and inside of `artifactfs run`, each time
on a fresh mount whose data is nowhere in memory (dropping caches needs root); and a program that does nothing is run.
Prints Markdown tables of medians. With `--warm` caches are not dropped: what is stored stays in memory, and a first
epoch costs requests alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import artifactfs
from artifactfs.sdk.programs import run_program
from artifactfs.sdk.workspace import find_workspace
from tests.bench import workload
from tests.bench.systems import ARTIFACTFS
from tests.bench.workload import Shape

READER = """
import json, sys
from pathlib import Path
from tests.bench.workload import read_files, shuffled_files, timed
paths = shuffled_files(Path(sys.argv[1]))
Path(sys.argv[2]).write_text(json.dumps([timed(lambda: read_files(paths)) for _ in range(2)]))
"""
STARTS = 21
"""How often a run is begun and ended."""


def use(work: Path) -> None:
    """Let everything lie in one directory."""
    for name in ("REPO", "STATE", "RUNTIME", "CACHE"):
        os.environ[f"ARTIFACTFS_{name}"] = str(work / name.lower())


@contextmanager
def mounted(work: Path) -> Iterator[Path]:
    """Mount the repository, give the directory of the version, and unmount."""
    workload.run(ARTIFACTFS, "--quiet", "mount", "--transport", "kernel", str(work / "mnt"))
    try:
        yield work / "mnt" / "data" / "v0"
    finally:
        workload.run(ARTIFACTFS, "--quiet", "umount", str(work / "mnt"))


def read_epochs(work: Path, *, inside: bool, is_warm: bool) -> list[float]:
    """Return the seconds of two epochs of one program."""
    if not is_warm:
        workload.drop_caches()
    with mounted(work) as root:
        prefix = [ARTIFACTFS, "--quiet", "run", "--"] if inside else []
        answer = work / "answer"
        workload.run(*prefix, sys.executable, "-c", READER, str(root), str(answer))
    return list(json.loads(answer.read_text()))


def time_program(work: Path) -> tuple[float, float]:
    """Return the milliseconds from calling `run_program` to the program's begin, and from its end to the return."""
    answer = work / "times"
    begun = time.time_ns()
    run_program(find_workspace(), ["sh", "-c", f"date +%s%N > '{answer}'"], details={})
    ended = time.time_ns()
    there = int(answer.read_text())
    return (there - begun) / 1e6, (ended - there) / 1e6


def time_sdk() -> tuple[float, float]:
    """Return the milliseconds of `init` and of `finish`."""
    begun = time.perf_counter()
    run = artifactfs.init()
    middle = time.perf_counter()
    run.finish()
    return (middle - begun) * 1e3, (time.perf_counter() - middle) * 1e3


def time_bare(work: Path) -> tuple[float, float]:
    """Return the same for the program alone, without a run."""
    answer = work / "times"
    begun = time.time_ns()
    subprocess.run(["sh", "-c", f"date +%s%N > '{answer}'"], check=True)
    ended = time.time_ns()
    there = int(answer.read_text())
    return (there - begun) / 1e6, (ended - there) / 1e6


def print_starts(rows: dict[str, list[tuple[float, float]]]) -> None:
    """Print medians and the longest."""
    print("| what | begin: median, longest (ms) | end: median, longest (ms) |\n|---|---|---|")
    for name, taken in rows.items():
        cells = [f"{statistics.median(side):.1f}, {max(side):.1f}" for side in zip(*taken, strict=True)]
        print(f"| {name} | {cells[0]} | {cells[1]} |")


def print_epochs(count: int, outside: list[list[float]], inside: list[list[float]]) -> None:
    """Print files a second, and the ratio within each pair of programs."""
    print(
        "\n| small files | outside (files/s) | inside of `artifactfs run` | ratio | at least |\n|---|---|---|---|---|"
    )
    for epoch, title, least in ((0, "first epoch", 0.6), (1, "second epoch", 0.95)):
        speeds = [statistics.median(count / seconds[epoch] for seconds in side) for side in (outside, inside)]
        ratio = statistics.median(out[epoch] / ins[epoch] for out, ins in zip(outside, inside, strict=True))
        print(f"| {title} | {speeds[0]:,.0f} | {speeds[1]:,.0f} | {ratio:.2f} | {least} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--warm", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="artifactfs-bench-") as folder:
        work = Path(folder)
        use(work)
        (work / "mnt").mkdir()
        shape = Shape(directories=max(1, arguments.files // 100), big_mib=0)
        workload.make_tree(work / "tree", shape)
        workload.run(ARTIFACTFS, "--quiet", "put", "data", f"{work}/tree/")
        with mounted(work):
            rows = {
                "`artifactfs.init()`, `run.finish()`": [time_sdk() for _ in range(STARTS)],
                "`artifactfs run`, with a view": [time_program(work) for _ in range(STARTS)],
                "the same program alone": [time_bare(work) for _ in range(STARTS)],
            }
        print_starts(rows)
        outside, inside = [], []
        for _ in range(arguments.runs):
            outside.append(read_epochs(work, inside=False, is_warm=arguments.warm))
            inside.append(read_epochs(work, inside=True, is_warm=arguments.warm))
        print_epochs(shape.file_count, outside, inside)


if __name__ == "__main__":
    main()
