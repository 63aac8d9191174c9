"""Measure reading from a bucket through a mount: `python -m tests.bench.remote [--runs 3] [--big 2048] [--peers]`.

Everything is read from Ceph's S3 gateway on this machine, beside what the client library can do at best, a local
repository with the same tree, and with --peers beside `rclone mount` and `s3fs` with the same files as objects. Each
run of a cold measure has a cache and a mount of its own. Needs root, and what `tests/remote/object-stores.sh install`
installs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import machine, remote_measures
from tests.bench.remote_measures import BATCH, PEER_FILES, READERS, Seconds
from tests.bench.remote_tree import Remote
from tests.bench.table import format_table, ratio
from tests.bench.workload import Shape
from tests.remote.servers import running_ceph

MEASURES: dict[str, Callable[[Remote, Seconds], None]] = {
    "big": remote_measures.measure_big,
    "small": remote_measures.measure_small,
    "half": remote_measures.measure_half,
    "batch": remote_measures.measure_batch,
}


@dataclass(frozen=True, slots=True)
class Target:
    """A row of what must be reached: the ratio of speeds of ours to the peer's, within a run.

    Attributes:
        title: what is compared.
        ours: a measure.
        peer: what it is compared with.
        least: ratio.
    """

    title: str
    ours: str
    peer: str
    least: float


TARGETS = (
    Target("large file, cold, beside a download that hashes and writes", "big: cold", "big: download", 0.8),
    Target("large file, cached, beside a local repository", "big: cached", "big: local", 1.0),
    Target("cold epoch in order, beside downloading the packs", "small: cold, in order", "small: download", 1 / 1.5),
    Target("cold epoch shuffled, beside downloading the packs", "small: cold, shuffled", "small: download", 0.0),
    Target("second epoch, beside a local repository", "small: again, in order", "small: local again, in order", 1.0),
    Target("warm epoch from the disk, beside a local one", "small: warm, in order", "small: local, in order", 1.0),
    Target("the same shuffled", "small: warm, shuffled", "small: local, shuffled", 1.0),
    Target("shuffled, cache of half the data, beside downloading the packs", "half: first epoch", "small: download", 0),
    Target("the same again", "half: second epoch", "small: download", 0.0),
    Target(f"mount and first batch of {BATCH}, beside `get`", "batch: mount and read", "batch: get everything", 10.0),
    Target("the same, beside `get` of small files only", "batch: mount and read", "batch: get small files", 10.0),
    Target("first batch once mounted, beside that", "batch: read", "batch: get small files", 10.0),
)


def format_targets(seconds: Seconds) -> str:
    """Return the table of what is compared."""
    rows = [["what", "artifactfs", "beside", "ratio of speeds", "at least", "reached"]]
    for target in TARGETS:
        if target.ours in seconds and target.peer in seconds:
            ours, peer = seconds[target.ours], seconds[target.peer]
            found = ratio(ours, peer)
            least = [f"{target.least:.2f}", "yes" if found >= target.least else "NO"] if target.least else ["", ""]
            median, beside = statistics.median(ours), statistics.median(peer)
            rows.append([target.title, f"{median:.2f} s", f"{beside:.2f} s", f"{found:.2f}", *least])
    return format_table(rows)


def format_speeds(seconds: Seconds, shape: Shape) -> str:
    """Return the table of all medians, and what they mean in files or bytes a second."""
    rows = [["what", "seconds (median)", "speed"]]
    for key, runs in seconds.items():
        median = statistics.median(runs)
        count = PEER_FILES if key.startswith("peer") else BATCH if key.endswith(" read") else shape.file_count
        speed = f"{shape.big_mib / median:,.0f} MiB/s" if key.startswith("big") else f"{count / median:,.0f} files/s"
        rows.append([key, f"{median:.2f}", speed])
    return format_table(rows)


def format_peers(seconds: Seconds, shape: Shape) -> str:
    """Return how many times faster a cold epoch is than through the others."""
    lines = []
    for key in seconds:
        if key.startswith("peer: ") and "small: cold, in order" in seconds:
            ours = statistics.median(seconds["small: cold, in order"]) / shape.file_count
            times = statistics.median(seconds[key]) / PEER_FILES / ours
            lines.append(f"cold epoch, times the speed of {key[6:]}: {times:.0f} (at least 20)")
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--big", type=int, default=2048, metavar="MIB")
    parser.add_argument("--directories", type=int, default=200)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--only", default="big,small,half,batch", help="which measures, by commas")
    parser.add_argument("--count", action="store_true", help=f"count the requests that {READERS} readers cause")
    parser.add_argument("--where", default=None)
    options = parser.parse_args()
    print(machine.describe(), flush=True)
    random.seed(1)
    names = list(filter(None, options.only.split(",")))
    with tempfile.TemporaryDirectory(dir=options.where, prefix="af-bench-") as work, running_ceph() as server:
        shape = Shape(directories=options.directories, big_mib=options.big)
        remote = Remote(server, Path(work), shape)
        seconds: Seconds = {}
        for _ in range(options.runs):
            for name in names:
                MEASURES[name](remote, seconds)
        print(format_targets(seconds), format_speeds(seconds, shape), sep="\n\n", flush=True)
        if options.count:
            for what, count in remote_measures.count_requests(remote).items():
                print(f"{what}: {count}", flush=True)
        if options.peers:
            remote_measures.measure_peers(remote, seconds)
            print(format_peers(seconds, shape), format_speeds(seconds, shape), sep="\n\n")


if __name__ == "__main__":
    main()
