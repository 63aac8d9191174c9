"""Measure artifactfs beside the plain file system: `python -m tests.bench [--runs 5] [--small]`.

Prints a Markdown table of medians over interleaved runs. Dropping caches needs root. Everything happens
in a temporary directory on the file system that is compared with (`--where`, default: TMPDIR).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench import workload
from tests.bench.table import Row, format_table
from tests.bench.workload import Shape, timed

ARTIFACTFS = [str(Path(sys.executable).parent / "artifactfs"), "--quiet"]


def make_rows(shape: Shape, transport: str) -> dict[str, Row]:
    """Return the rows to fill, with the targets of the transport."""
    targets = {"fusepy": (0.1, 0.1, 0.5, 0.25, 0.3), "kernel": (0.3, 0.1, 0.5, 0.9, 0.3)}[transport]
    files, mib = float(shape.file_count), float(shape.big_mib)
    return {
        "put": Row("put of the whole tree", "cp -r; sync", 1 / 1.5),
        "walk": Row("walk and stat, fresh mount", "ext4, dropped", targets[0], "/s", files),
        "small1": Row("small files, first epoch", "ext4, warm", targets[1], "files/s", files),
        "small2": Row("small files, second epoch", "ext4, warm", targets[2], "files/s", files),
        "big1": Row("big file, first read", "ext4, dropped", targets[3], "MiB/s", mib),
        "big2": Row("big file, second read", "ext4, warm", targets[4], "MiB/s", mib),
        "ls": Row("command `artifactfs ls`, warm index", "", 0.15, absolute=True),
    }


class Bench:
    """One temporary directory with a tree, a repository and a mount point."""

    def __init__(self, work: Path, shape: Shape, rows: dict[str, Row], *, transport: str) -> None:
        self.work, self.shape, self.rows, self.transport = work, shape, rows, transport
        self.tree, self.mount = work / "tree", work / "mnt"
        self.mount.mkdir()
        places = {name: str(work / name.lower()) for name in ("REPO", "STATE", "RUNTIME", "CACHE")}
        self.environment = {f"ARTIFACTFS_{name}": path for name, path in places.items()}

    def artifactfs(self, *arguments: str) -> None:
        """Run one command of ours on the repository of this bench."""
        workload.run(*ARTIFACTFS, *arguments, **self.environment)

    def measure_put(self) -> None:
        """Compare storing the tree with copying it, from a warm page cache, both to the disk."""
        copy = self.work / "copy"
        self.rows["put"].peer.append(timed(lambda: (workload.run("cp", "-r", str(self.tree), str(copy)), os.sync())))
        shutil.rmtree(copy)
        for name in ("repo", "state"):
            shutil.rmtree(self.work / name, ignore_errors=True)
        os.sync()
        self.rows["put"].ours.append(timed(lambda: self.artifactfs("put", "data", f"{self.tree}/")))

    def measure_plain(self) -> None:
        """Read the plain tree, first with dropped caches, then warm."""
        workload.drop_caches()
        self.rows["walk"].peer.append(timed(lambda: workload.walk_and_stat(self.tree)))
        paths = workload.shuffled_files(self.tree)
        workload.read_files(paths)
        warm = timed(lambda: workload.read_files(paths))
        self.rows["small1"].peer.append(warm)
        self.rows["small2"].peer.append(warm)
        self.rows["big1"].peer.append(timed(lambda: workload.read_big(self.tree)))
        self.rows["big2"].peer.append(timed(lambda: workload.read_big(self.tree)))

    def measure_mount(self) -> None:
        """Read the same through a fresh mount; the blobs are as cold, and then as warm, as the plain files were."""
        workload.drop_caches()
        self.artifactfs("mount", "--transport", self.transport, "--artifact", "data", str(self.mount))
        try:
            self.rows["walk"].ours.append(timed(lambda: workload.walk_and_stat(self.mount)))
            paths = workload.shuffled_files(self.mount)
            self._warm_small_blobs()
            self.rows["small1"].ours.append(timed(lambda: workload.read_files(paths)))
            self.rows["small2"].ours.append(timed(lambda: workload.read_files(paths)))
            self.rows["big1"].ours.append(timed(lambda: workload.read_big(self.mount)))
            self.rows["big2"].ours.append(timed(lambda: workload.read_big(self.mount)))
        finally:
            self.artifactfs("umount", str(self.mount))

    def _warm_small_blobs(self) -> None:
        limit = 2 * self.shape.size
        blobs = [entry for folder in os.scandir(self.work / "repo" / "blobs") for entry in os.scandir(folder)]
        workload.read_files([entry.path for entry in blobs if entry.stat().st_size <= limit])

    def measure_command(self) -> None:
        """Time one command from start to finish."""
        self.artifactfs("ls")
        self.rows["ls"].ours.append(timed(lambda: self.artifactfs("ls")))


def main() -> None:
    """Run the bench and print its table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a tenth of the tree, to try the bench itself")
    parser.add_argument("--where", default=None, help="directory on the file system to compare with")
    parser.add_argument("--transport", default="fusepy", choices=["fusepy", "kernel"])
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("dropping the kernel's caches needs root")
    shape = Shape(directories=20, big_mib=200) if arguments.small else Shape()
    rows = make_rows(shape, arguments.transport)
    with tempfile.TemporaryDirectory(prefix="artifactfs-bench-", dir=arguments.where) as name:
        bench = Bench(Path(name), shape, rows, transport=arguments.transport)
        workload.make_tree(bench.tree, shape)
        for number in range(arguments.runs):
            print(f"run {number + 1} of {arguments.runs}", file=sys.stderr)
            for measure in (bench.measure_put, bench.measure_plain, bench.measure_mount, bench.measure_command):
                measure()
    print(format_table(list(rows.values())))


if __name__ == "__main__":
    main()
