"""Measure answers about the lineage: `python -m tests.bench.lineage [--runs 100000] [--rounds 15]`.

The graph of so many runs on 400 days, each with one to three inputs and one output, is put into the index as it would
be read from the store, which itself has one of each day. The first version is read by a tenth of all runs. Prints a
Markdown table of medians.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from artifactfs.blobstore.keys import RUNS_PREFIX, run_key
from artifactfs.index.graph import Additions
from artifactfs.repository.repository import open_repository
from artifactfs.runs.events import new_run_id, run_day
from artifactfs.runs.history import RunLog
from artifactfs.runs.lineage import Lineage, RunNode, VersionNode, open_lineage

BATCH = 2000
DAYS = 400
NEAR = 5000
"""An input is among so many versions before."""
BEGIN_NS = 1_760_000_000 * 10**9
LIMIT = 1000


def fill(lineage: Lineage, count: int) -> list[str]:
    """Put runs into the graph, and return their ids."""
    add = lineage._graph.add
    encode, chosen = msgspec.msgpack.Encoder().encode, random.Random(7)
    ids: list[str] = []
    additions = Additions()
    for number in range(count):
        time_ns = BEGIN_NS + number * (DAYS * 86400 * 10**9 // count)
        run = new_run_id(time_ns, chosen.randbytes)
        ids.append(run)
        node = RunNode(f"run {number}", "train", "project", "somebody@host", time_ns, time_ns + 10**9, "finished")
        additions.nodes[run] = encode(node)
        made = f"model-{number % 50}:v{number // 50}"
        additions.nodes[made] = encode(VersionNode("model", time_ns, "somebody@host", run))
        inputs = {chosen.randrange(max(0, number - NEAR), number) for _ in range(chosen.randint(1, 3)) if number}
        additions.edges += [(f"model-{each % 50}:v{each // 50}", run) for each in inputs]
        if number % 10 == 0:
            additions.edges.append(("data:v0", run))
        additions.edges.append((run, made))
        if (number + 1) % BATCH == 0:
            add(additions)
            additions = Additions()
    add(additions)
    return ids


def make_days(repository: Path, ids: list[str]) -> None:
    """Let the store have the first run of each day, which has not changed for long."""
    firsts = {run_day(run): run for run in reversed(ids)}
    for day, run in firsts.items():
        event = repository / run_key(day, run, 1)
        event.parent.mkdir(parents=True)
        event.touch()
        os.utime(event.parent.parent, (0, 0))
    os.utime(repository / RUNS_PREFIX, (0, 0))


def measure(rounds: int, action: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds that an action takes, and those of the processor: medians."""
    taken, used = [], []
    for _ in range(rounds):
        begun, begun_used = time.perf_counter(), time.process_time()
        action()
        taken.append((time.perf_counter() - begun) * 1e3)
        used.append((time.process_time() - begun_used) * 1e3)
    return statistics.median(taken), statistics.median(used)


def measure_all(lineage: Lineage, ids: list[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Return milliseconds by what was asked."""
    last = f"model-{(len(ids) - 1) % 50}:v{(len(ids) - 1) // 50}"
    first = "data:v0"
    few = min(rounds, 5)
    return {
        "find that nothing is new": measure(rounds, lineage.update),
        "ancestors, depth 8": measure(rounds, lambda: lineage.find(last, "up", depth=8)),
        f"the nearest {LIMIT:,} ancestors": measure(rounds, lambda: lineage.find(last, "up", limit=LIMIT)),
        f"the nearest {LIMIT:,} descendants": measure(rounds, lambda: lineage.find(first, "down", limit=LIMIT)),
        f"all {len(ids) // 10:,} runs that read one version": measure(
            rounds, lambda: lineage.find("data:v0", "down", depth=1)
        ),
        f"all {len(lineage.find(last, 'up').nodes):,} ancestors": measure(few, lambda: lineage.find(last, "up")),
        f"all {len(lineage.find(first, 'down').nodes):,} descendants": measure(
            few, lambda: lineage.find(first, "down")
        ),
    }


def measure_in(place: Path, *, count: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return what `measure_all` does of a repository in an empty directory."""
    location = str(place / "repository")
    with open_repository(location, state=str(place / "state"), author="a") as repository:
        runs = RunLog(repository.store, clock=repository.clock, random=os.urandom)
        with open_lineage(repository, runs) as lineage:
            ids = fill(lineage, count)
            make_days(place / "repository", ids)
            lineage.update()
            return measure_all(lineage, ids, rounds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="artifactfs-bench-") as folder:
        found = measure_in(Path(folder), count=arguments.runs, rounds=arguments.rounds)
    print("| what | ms | of the processor |\n|---|---|---|")
    for name, (taken, used) in found.items():
        print(f"| {name} | {taken:.1f} | {used:.1f} |")


if __name__ == "__main__":
    main()
