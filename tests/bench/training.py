"""Measure how jobs get data: `python -m tests.bench.training [--runs 5] [--files 20000] [--big 2048]`.

A `DataLoader` of four workers over small files, in a mount and on ext4 (where PyTorch is installed); `artifactfs get`
beside `cp -r`; a large file through fsspec beside the mount. Runs are interleaved, and medians printed as Markdown.
What is read is in the page cache but where a row says "dropped", which needs root.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec

from tests.bench import workload
from tests.bench.runs import mounted, use
from tests.bench.systems import ARTIFACTFS
from tests.bench.workload import BUFFER_SIZE, Shape, drop_caches, timed

Seconds = dict[str, list[float]]
LOADER = """
import json, sys, torch
from tests.bench.workload import shuffled_files, timed
from pathlib import Path

class Files(torch.utils.data.Dataset):
    def __init__(self, top):
        self.paths = shuffled_files(Path(top))
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, index):
        with open(self.paths[index], "rb", buffering=int(sys.argv[2])) as file:
            return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)

loader = torch.utils.data.DataLoader(
    Files(sys.argv[1]), batch_size=64, shuffle=True, num_workers=4, persistent_workers=True
)
print(json.dumps([timed(lambda: sum(len(batch) for batch in loader)) for _ in range(3)]))
"""
"""Three epochs. The first has the start of the workers in it."""


def load(top: Path, *, buffering: int = 0) -> list[float]:
    """Return the seconds of the epochs of one program.

    With a `buffering` of -1 Python asks of each file whether it is a terminal.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADER, str(top), str(buffering)],
        check=True,
        capture_output=True,
        text=True,
    )
    return [float(word) for word in done.stdout.strip("[]\n").split(",")]


def copy(work: Path, *command: str) -> float:
    """Return the seconds that a command takes that makes a copy, of which the path is its last argument.

    No copy is removed before the end: for minutes after 20,000 files were removed, ext4 passes over their inodes one by
    one whenever it makes a file. Source: fs/ext4/ialloc.c, recently_deleted.
    """
    copies = work / "copies"
    copies.mkdir(exist_ok=True)
    os.sync()
    return timed(lambda: workload.run(*command, str(copies / str(len(os.listdir(copies))))))


def read_through(path: str) -> None:
    """Read a file of the version through fsspec, in order."""
    fs: Any = fsspec.filesystem("artifact", skip_instance_cache=True)
    buffer = bytearray(BUFFER_SIZE)
    with fs.open(path) as file:
        while file.readinto(buffer):
            pass


def measure(work: Path, seconds: Seconds, *, has_torch: bool) -> None:
    """Take each measure once."""

    def add(key: str, taken: float) -> None:
        seconds.setdefault(key, []).append(taken)

    tree = work / "tree"
    add("cp", copy(work, "cp", "-r", str(tree / "small")))
    add("get", copy(work, ARTIFACTFS, "--quiet", "get", "data/small"))
    with mounted(work) as root:
        workload.read_big(root)
        add("big-mount", timed(lambda: workload.read_big(root)))
        read_through("data/big")
        add("big-fsspec", timed(lambda: read_through("data/big")))
        drop_caches()
        add("big-mount-dropped", timed(lambda: workload.read_big(root)))
        drop_caches()
        add("big-fsspec-dropped", timed(lambda: read_through("data/big")))
        if has_torch:
            for key, top in (("ext4", tree), ("mount", root)):
                workload.read_files(workload.shuffled_files(top))
                for epoch, taken in enumerate(load(top)):
                    add(f"epoch{epoch}-{key}", taken)
                add(f"default-{key}", load(top, buffering=-1)[-1])


def print_table(seconds: Seconds, shape: Shape, *, has_torch: bool) -> None:
    """Print medians, and the ratio of speeds within each run."""
    files: Callable[[float], str] = lambda taken: f"{shape.file_count / taken:,.0f} files/s"  # noqa: E731
    mib: Callable[[float], str] = lambda taken: f"{shape.big_mib / taken:,.0f} MiB/s"  # noqa: E731
    rows = [
        ("`get` beside `cp -r`, 16 KiB files", "get", "cp", files, "1.0"),
        ("fsspec beside the mount, in order, second read", "big-fsspec", "big-mount", mib, "0.8"),
        ("the same, dropped", "big-fsspec-dropped", "big-mount-dropped", mib, "0.8"),
    ]
    if has_torch:
        rows += [
            ("`DataLoader`, 4 workers, mount beside ext4, first epoch", "epoch0-mount", "epoch0-ext4", files, "-"),
            ("the same, second epoch", "epoch1-mount", "epoch1-ext4", files, "0.9"),
            ("the same, third epoch", "epoch2-mount", "epoch2-ext4", files, "0.9"),
            ('the same with `open(path, "rb")`, an ioctl a file', "default-mount", "default-ext4", files, "-"),
        ]
    print("| what | artifactfs | peer | ratio | at least |\n|---|---|---|---|---|")
    for title, ours, peer, unit, least in rows:
        ratio = statistics.median(b / a for a, b in zip(seconds[ours], seconds[peer], strict=True))
        cells = [unit(statistics.median(seconds[key])) for key in (ours, peer)]
        print(f"| {title} | {cells[0]} | {cells[1]} | {ratio:.2f} | {least} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--big", type=int, default=2048, help="MiB")
    arguments = parser.parse_args()
    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        print("PyTorch is not installed: its rows are left out", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="artifactfs-bench-") as folder:
        work = Path(folder)
        use(work)
        (work / "mnt").mkdir()
        shape = Shape(directories=max(1, arguments.files // 100), big_mib=arguments.big)
        workload.make_tree(work / "tree", shape)
        workload.run(ARTIFACTFS, "--quiet", "put", "data", f"{work}/tree/")
        seconds: Seconds = {}
        for _ in range(arguments.runs):
            measure(work, seconds, has_torch=has_torch)
        print_table(seconds, shape, has_torch=has_torch)


if __name__ == "__main__":
    main()
