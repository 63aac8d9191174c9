"""A million files of 4 KiB, from the first copy to the last byte freed: `python -m tests.bench.million`.

Each system stores the tree, stores it again after one file has changed, compares the two, and deletes both; artifactfs
is also mounted, walked, staged and committed. Prints Markdown tables of seconds and of peaks of anonymous memory, all
processes of a program together. Each step is taken once, with the tree in the page cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import machine, workload
from tests.bench.memory import MARK, Watch, anonymous_kib, anonymous_once_kib
from tests.bench.systems import ARTIFACTFS
from tests.bench.table import format_table

COUNT: Final = 1_000_000
SIZE: Final = 4096
PER_DIRECTORY: Final = 1000
MOUNTS: Final = 5
STEPS: Final = ("stored", "stored again, one file changed", "compared", "deleted and freed")


@dataclass(frozen=True, slots=True)
class Million:
    """What another program does for each step; in commands `{tree}` and `{store}` are replaced.

    Attributes:
        name: what the table calls it.
        program: what must be there.
        prepare: commands that are not measured; these and the steps run in the directory that holds the tree.
        steps: commands for each of `STEPS`, with ` && ` between; empty where there is no such thing.
        environment: of the commands.
    """

    name: str
    program: str
    prepare: tuple[str, ...]
    steps: tuple[str, str, str, str]
    environment: tuple[tuple[str, str], ...] = ()


PEERS: Final = (
    Million(
        "cp -r and sync", "cp", (),
        ("cp -r {tree} {store} && sync", "cp -r {tree} {store}2 && sync", "", "rm -rf {store} {store}2 && sync"),
    ),
    Million(
        "borg", "borg", ("borg init -e none {store}",),
        (
            "borg create --compression none {store}::one {tree} && sync",
            "borg create --compression none {store}::two {tree} && sync",
            "borg diff {store}::one two",
            "borg delete {store}::one two && borg compact {store}",
        ),
        (("BORG_BASE_DIR", "{store}.base"),),
    ),
    Million(
        "restic", "restic", ("restic -q -r {store} init",),
        (
            "restic -q -r {store} --cache-dir {store}.cache backup --compression off {tree} && sync",
            "restic -q -r {store} --cache-dir {store}.cache backup --compression off {tree} && sync",
            "",
            "restic -q -r {store} forget --no-cache latest && restic -q -r {store} forget --no-cache --prune latest",
        ),
        (("RESTIC_PASSWORD", "bench"),),
    ),
    Million(
        "DVC", "dvc", ("dvc init --no-scm -q",),
        ("dvc add -q {tree} && sync", "dvc add -q {tree} && sync", "", "rm -rf {tree}.dvc .dvc .dvcignore && sync"),
        (("DVC_SITE_CACHE_DIR", "{store}.site"),),
    ),
)  # fmt: skip


class Run:
    """One run in a directory of its own, with what was measured."""

    def __init__(self, work: Path, *, tree: Path | None = None, count: int, limit_seconds: float) -> None:
        self.work, self.tree, self.mark = work, tree or work / "tree", str(work)
        self.results: dict[str, dict[str, tuple[float, int] | str]] = {}
        self.facts: list[list[str]] = []
        self._count, self._limit_seconds = count, limit_seconds
        self._mountpoint = work / "mnt"
        self._mountpoint.mkdir()

    def make_tree(self) -> None:
        """Write the files, all of different content."""
        noise = os.urandom(2 * SIZE)
        for number in range(self._count):
            folder = self.tree / f"d{number // PER_DIRECTORY:04d}"
            if number % PER_DIRECTORY == 0:
                folder.mkdir(parents=True)
            head = f"{number} ".encode()
            with open(f"{folder}/f{number % PER_DIRECTORY:04d}", "wb") as file:
                file.write(head + noise[number % SIZE :][: SIZE - len(head)])
        os.sync()

    def warm_tree(self) -> None:
        """Bring a tree that was made earlier into the page cache."""
        for folder, _, names in os.walk(self.tree):
            for name in names:
                with open(f"{folder}/{name}", "rb") as file:
                    file.read()

    def change_one(self) -> None:
        """Give one file other content of the same size."""
        (self.tree / "d0000" / "f0007").write_bytes(os.urandom(SIZE))
        time.sleep(2.1)  # what changed just now is always read; that is not what is measured

    def measure(self, name: str, step: str, action: Callable[[], object]) -> None:
        """Take time and memory of one step, and say them at once."""
        with Watch(self.mark) as watch:
            seconds = workload.timed(action)
        self.results.setdefault(name, {})[step] = (seconds, watch.peak_kib)
        print(f"{name}: {step}: {seconds:.2f} s, {watch.peak_kib / 1024:.0f} MiB", file=sys.stderr, flush=True)

    def artifactfs(self, *arguments: str) -> str:
        """Run one of our commands, as a user would, and return what it prints."""
        names = ("REPO", "STATE", "RUNTIME", "CACHE")
        places = {f"ARTIFACTFS_{name}": str(self.work / name.lower()) for name in names}
        environment = {**os.environ, **places, MARK: self.mark}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [ARTIFACTFS, "--quiet", "--yes", *arguments]
        return subprocess.run(command, env=environment, check=True, text=True, stdout=subprocess.PIPE).stdout

    def measure_ours(self) -> None:
        """Take the steps of artifactfs, with those of a mount and a staging directory."""
        name, put = "artifactfs", ("put", "data", f"{self.tree}/")
        self.measure(name, STEPS[0], lambda: self.artifactfs(*put))
        self.measure(name, "put again, nothing changed", lambda: self.artifactfs(*put))
        self.change_one()
        self.measure(name, STEPS[1], lambda: self.artifactfs(*put))
        self.measure(name, STEPS[2], lambda: self.artifactfs("diff", "data:v0", "data:v2"))
        self._measure_mounting()
        self.measure(name, "mounted, until the first `ls` answers", self._mount)
        try:
            self._measure_mounted(name)
        finally:
            self.artifactfs("umount", str(self._mountpoint))
        self.measure(name, "every file read and hashed again (`check --read-data`)", self._check)
        self.measure(name, "deleted (`rm --collection`)", lambda: self.artifactfs("rm", "--collection", "data"))
        self.measure(name, STEPS[3], lambda: self.artifactfs("prune"))

    def _measure_mounting(self) -> None:
        """Mount several times with nobody looking at memory, which takes a part of such a short time."""
        taken = []
        for _ in range(MOUNTS):
            taken.append(workload.timed(self._mount))
            self.artifactfs("umount", str(self._mountpoint))
        self.facts.append([f"mount until `ls`, median of {MOUNTS}", f"{statistics.median(taken):.2f} s", "0.3 s"])

    def _mount(self) -> None:
        self.artifactfs("mount", str(self._mountpoint))
        os.listdir(self._mountpoint / "data" / "latest")

    def _check(self) -> None:
        self.artifactfs("check", "--read-data")

    def _walk(self) -> None:
        for folder, _, names in os.walk(self._mountpoint / "data" / "v2"):
            for name in names:
                os.stat(os.path.join(folder, name))

    def _measure_mounted(self, name: str) -> None:
        self.measure(name, "walk and stat, first time ever", self._walk)
        memory = anonymous_once_kib(self.mark) / 1024
        self.facts.append(["daemons after walking all files", f"{memory:.0f} MiB", "150 MiB"])
        each = anonymous_kib(self.mark) / 1024
        self.facts.append(["the same, shared pages counted in each process", f"{each:.0f} MiB", ""])
        self.measure(name, "staged", lambda: self.artifactfs("stage", "data"))
        (self._mountpoint / "data" / "@staging" / "d0001" / "f0001").write_bytes(b"changed")
        before = self._metadata_size()
        self.measure(name, "one change committed", lambda: self.artifactfs("commit", "data"))
        grown = (self._metadata_size() - before) / 1024
        self.facts.append(["new metadata of that commit", f"{grown:.0f} KiB", "1024 KiB"])
        self.artifactfs("discard", "data:@staging")

    def _metadata_size(self) -> int:
        places = [self.work / "repo" / folder for folder in ("trees", "treepacks", "sums", "collections")]
        return sum(path.stat().st_size for place in places for path in place.rglob("*") if path.is_file())

    def measure_peer(self, peer: Million) -> None:
        """Take the steps of another program; what fails or takes too long is said in the table."""
        program = shutil.which(peer.program)
        if program is None:
            self.results[peer.name] = dict.fromkeys(STEPS, "not installed")
            return
        for command in peer.prepare:
            self._run(peer, command)
        for number, (step, command) in enumerate(zip(STEPS, peer.steps, strict=True)):
            if number == 1:
                self.change_one()
            try:
                if command:
                    self.measure(peer.name, step, lambda command=command: self._run(peer, command))  # type: ignore[misc]
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                self.results.setdefault(peer.name, {})[step] = _failure(error)
                print(f"{peer.name}: {step}: {_failure(error)}", file=sys.stderr, flush=True)
                break
        for left in [*self.work.glob(f"{peer.program}*"), self.tree.parent / ".dvc"]:
            shutil.rmtree(left, ignore_errors=True)

    def _run(self, peer: Million, command: str) -> None:
        store = self.work / peer.program
        fill = {"tree": str(self.tree), "store": str(store)}
        variables = {key: value.format(**fill) for key, value in peer.environment}
        environment = {**os.environ, **variables, MARK: self.mark}
        for part in command.format(**fill).split(" && "):
            subprocess.run(
                part.split(), cwd=self.tree.parent, env=environment, check=True, timeout=self._limit_seconds,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def report(self) -> str:
        """Return the tables."""
        ours = [[step, *_cells(value)] for step, value in self.results.get("artifactfs", {}).items()]
        systems = [
            [name, *(" / ".join(_cells(found.get(step, "-"))) for step in STEPS)]
            for name, found in self.results.items()
        ]
        return "\n\n".join(
            [
                machine.describe(),
                format_table([["artifactfs", "time", "peak of memory"], *ours]),
                format_table([["what", "measured", "at most"], *self.facts]),
                format_table([["time / peak of memory", *STEPS], *systems]),
            ]
        )


def _cells(value: tuple[float, int] | str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return f"{value[0]:.2f} s" if value[0] < 10 else f"{value[0]:.0f} s", f"{value[1] / 1024:.0f} MiB"


def _failure(error: subprocess.CalledProcessError | subprocess.TimeoutExpired) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"more than {error.timeout:.0f} s"
    return f"failed with {error.returncode}"


def main() -> None:
    """Run it and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.million", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="files; fewer to try the bench itself")
    parser.add_argument("--where", default=None, help="directory on the file system to measure on")
    parser.add_argument("--tree", type=Path, default=None, help="a tree that there is, instead of a new one")
    parser.add_argument("--peers", action="store_true", help="also measure cp, borg, restic and DVC, where installed")
    parser.add_argument("--only", default=None, choices=[peer.name for peer in PEERS], help="measure this peer alone")
    parser.add_argument("--limit", type=float, default=300, help="seconds that a peer may take for one step")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="artifactfs-million-", dir=arguments.where) as name:
        run = Run(Path(name), tree=arguments.tree, count=arguments.count, limit_seconds=arguments.limit)
        if arguments.tree is None:
            run.make_tree()
            time.sleep(2.1)
        else:
            run.warm_tree()
        if arguments.only is None:
            run.measure_ours()
        for peer in PEERS:
            if peer.name == arguments.only or (arguments.peers and arguments.only is None):
                run.measure_peer(peer)
        print(run.report())


if __name__ == "__main__":
    main()
