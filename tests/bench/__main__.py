"""Measure artifactfs beside the plain file system: `python -m tests.bench [--runs 5] [--peers] [--small]`.

Prints Markdown tables of medians over interleaved runs. Dropping caches needs root. Everything happens in a temporary
directory on the file system that is compared with (`--where`, default: TMPDIR).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.bench import chart, kills, machine, workload
from tests.bench.measures import Seconds, add, read_all
from tests.bench.systems import PEERS, ArtifactFS, Peer, missing
from tests.bench.table import format_kills, format_systems, format_targets
from tests.bench.workload import Shape

TRANSPORTS = ("kernel", "fusepy")
KILLS = 100
"""Workers that are killed in each run."""


class Bench:
    """One temporary directory with a tree, and what was measured on it."""

    def __init__(self, work: Path, shape: Shape, *, transports: list[str], peers: bool) -> None:
        self.work, self.shape = work, shape
        self.tree = work / "tree"
        workload.make_tree(self.tree, shape)
        self.plain: Seconds = {}
        self.kills: list[kills.Kills] = []
        self.ours: dict[str, Seconds] = {name: {} for name in transports}
        self._transports = {name: ArtifactFS(name, work=work, tree=self.tree) for name in transports}
        self.left_out = {peer.name: missing(peer) for peer in PEERS if missing(peer)} if peers else {}
        chosen = [peer for peer in PEERS if peers and peer.name not in self.left_out]
        self.peers: dict[str, Seconds] = {peer.name: {} for peer in chosen}
        self._peers = [Peer(commands, work=work, tree=self.tree) for commands in chosen]

    def run_once(self) -> None:
        """Take every measure once, one system after the other."""
        self._measure_plain()
        for name, system in self._transports.items():
            self._measure_ours(system, self.ours[name])
            self._measure_more(system, name, self.ours[name])
        for peer in self._peers:
            if not (peer.once and self.peers[peer.name]):
                self._measure_peer(peer)

    def _measure_plain(self) -> None:
        copies = self.work / "copies"
        copies.mkdir(exist_ok=True)
        copy = copies / str(len(self.plain.get("copy", ())))
        self._warm()
        add(self.plain, "copy", lambda: (workload.run("cp", "-r", str(self.tree), str(copy)), os.sync()))
        # The small ones stay: after so many were removed ext4 makes new files slowly (recently_deleted, ialloc.c).
        (copy / "big").unlink()
        workload.drop_caches()
        read_all(self.tree, self.plain)

    def _warm(self) -> None:
        workload.read_files(workload.shuffled_files(self.tree))
        workload.read_big(self.tree)

    def _measure_ours(self, system: ArtifactFS, seconds: Seconds) -> None:
        os.sync()
        self._warm()
        add(seconds, "put", system.store)
        add(seconds, "put-again", system.put)
        workload.drop_caches()
        with system.mounted() as root:
            read_all(root, seconds)
        system.run("ls")
        add(seconds, "ls", lambda: system.run("ls"))

    def _measure_more(self, system: ArtifactFS, name: str, seconds: Seconds) -> None:
        workload.drop_caches()
        with system.mounted() as root:
            add(seconds, "walk-prepared", lambda: workload.walk_and_stat(root))
            paths = workload.shuffled_files(root)
            self._warm_stored(system)
            add(seconds, "small1-warm", lambda: workload.read_files(paths))
        if name == "kernel":
            with system.mounted("--passthrough") as root:
                workload.read_big(root)
                add(seconds, "big2-passthrough", lambda: workload.read_big(root))
            with system.mounted() as root:
                self.kills.append(kills.measure(root, self.tree, count=KILLS))

    def _warm_stored(self, system: ArtifactFS) -> None:
        stored = [Path(folder, name) for folder, _, names in os.walk(system.repository) for name in names]
        workload.read_files([str(path) for path in stored if path.stat().st_size <= 128 << 20])

    def _measure_peer(self, peer: Peer) -> None:
        peer.store()
        workload.drop_caches()
        with peer.mounted() as root:
            read_all(root, self.peers[peer.name])

    def report(self) -> str:
        """Return the tables."""
        parts = [machine.describe(), "", format_targets(self.ours, self.plain), ""]
        if self.kills:
            parts += [format_kills(self.kills), ""]
        parts.append(format_systems(self.systems(), self.shape))
        parts += [f"left out: {name} ({programs} not installed)" for name, programs in self.left_out.items()]
        return "\n".join(parts)

    def systems(self) -> dict[str, Seconds]:
        """Return the results of all systems by name, the plain tree first."""
        ours = {f"artifactfs, {name}": seconds for name, seconds in self.ours.items()}
        return {"ext4": self.plain, **ours, **self.peers}


def main() -> None:
    """Run the bench and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a tenth of the tree, to try the bench itself")
    parser.add_argument("--where", default=None, help="directory on the file system to compare with")
    parser.add_argument("--transport", default="both", choices=[*TRANSPORTS, "both"])
    parser.add_argument(
        "--peers", action="store_true", help="also measure other file systems, where installed; slow ones once"
    )
    parser.add_argument("--chart", type=Path, default=None, metavar="FILE", help="draw all systems as SVG")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("dropping the kernel's caches needs root")
    shape = Shape(directories=20, big_mib=200) if arguments.small else Shape()
    transports = [name for name in TRANSPORTS if arguments.transport in (name, "both")]
    with tempfile.TemporaryDirectory(prefix="artifactfs-bench-", dir=arguments.where) as name:
        bench = Bench(Path(name), shape, transports=transports, peers=arguments.peers)
        for number in range(arguments.runs):
            print(f"run {number + 1} of {arguments.runs}", file=sys.stderr)
            bench.run_once()
    print(bench.report())
    if arguments.chart is not None:
        arguments.chart.write_text(chart.draw(bench.systems(), shape, caption=machine.describe()))


if __name__ == "__main__":
    main()
