"""Measure writing into staging directories: `python -m tests.bench.staging [--runs 3] [--files 70000] [--mib 2048]`.

`--large 1000000` measures nothing but what must not depend on how many files a version has: renaming the directory in
which all of so many empty files are, and committing that, and one changed file: five times, median and shortest.

Beside ext4, one after the other: unpacking a tree of source-like files, writing a large file with fsync, renaming the
directory that holds all files of a version, and committing after a copy. The union stands beside a bare loopback by
fusepy, which unpacks the same tree. Needs root, and as much free space as four such trees on the disk of `--where`.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

from tests.bench.systems import ARTIFACTFS
from tests.bench.table import format_table
from tests.bench.workload import run, timed

LOOPBACK: Final = Path(__file__).with_name("loopback.py")
FILES_IN_DIRECTORY: Final = 17
_UP_SECONDS: Final = 20.0
TIMES: Final = 5


def make_archive(path: Path, count: int) -> None:
    """Write an archive like one of sources: files of 1 to 24 KiB in directories three deep."""
    rng = random.Random(1)
    noise = rng.randbytes(1 << 16)
    with tarfile.open(path, "w") as archive:
        for number in range(count):
            folder = number // FILES_IN_DIRECTORY
            info = tarfile.TarInfo(f"src/{folder // 400:02d}/{folder // 20 % 20:02d}/{folder % 20:02d}/{number}.c")
            info.size = rng.randrange(1024, 24 * 1024)
            start = rng.randrange(1 << 15)
            archive.addfile(info, BytesIO(noise[start : start + info.size]))


def untar(archive: Path, top: Path) -> float:
    """Unpack and sync; return the seconds."""
    return timed(lambda: (run("tar", "-xf", str(archive), "-C", str(top)), os.sync()))


def write_large(path: Path, mib: int) -> float:
    """Write a file and fsync it; return the seconds."""
    block = random.Random(2).randbytes(1 << 20)

    def write() -> None:
        with path.open("wb", buffering=0) as file:
            for _ in range(mib):
                file.write(block)
            os.fsync(file.fileno())

    return timed(write)


@contextmanager
def loopback(work: Path) -> Iterator[Path]:
    """Give the mount of a loopback."""
    root, mount = work / "loop-root", work / "loop"
    root.mkdir()
    mount.mkdir()
    process = subprocess.Popen([sys.executable, str(LOOPBACK), str(root), str(mount)])
    deadline = time.monotonic() + _UP_SECONDS
    while not os.path.ismount(mount) and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield mount
    finally:
        run("fusermount", "-u", str(mount))
        process.wait()
        shutil.rmtree(root)
        mount.rmdir()


class Bench:
    """One temporary directory, a mount in it, and what was measured."""

    def __init__(self, work: Path, *, files: int, small: int, mib: int) -> None:
        self.work, self.mib, self.copied = work, mib, small
        self.seconds: dict[str, list[float]] = {}
        self.archive, self.short = work / "all.tar", work / "short.tar"
        make_archive(self.archive, files)
        make_archive(self.short, small)
        places = {"REPO": "repo", "STATE": "state", "CACHE": "cache", "RUNTIME": "run", "CONFIG": "config.toml"}
        self._environment = {f"ARTIFACTFS_{name}": str(work / folder) for name, folder in places.items()}
        (work / "config.toml").touch()
        self.tree = work / "tree"
        self.tree.mkdir()
        run("tar", "-xf", str(self.short), "-C", str(self.tree))
        self.mount = work / "mnt"
        self.mount.mkdir()
        self.artifactfs("put", "base", f"{self.tree}/.")
        self.artifactfs("mount", str(self.mount))

    def artifactfs(self, *arguments: str) -> None:
        """Run a command."""
        run(ARTIFACTFS, *arguments, **self._environment)

    def note(self, key: str, seconds: float) -> None:
        """Keep a figure."""
        self.seconds.setdefault(key, []).append(seconds)

    def run_once(self) -> None:
        """Take every measure once, and the large files three times, in turn."""
        plain = self.work / "plain"
        plain.mkdir()
        with self.staged("overlay") as top:
            (top / "new").mkdir()
            self.note("untar ext4", untar(self.archive, plain))
            self.note("untar overlay", untar(self.archive, top / "new"))
            self.write_in_turn({"ext4": plain, "overlay": top}, self.mib)
        shutil.rmtree(plain)
        with self.staged("overlay") as top:
            self.note("rename overlay", timed(lambda: os.rename(top / "src", top / "moved")))
            copied = timed(lambda: (run("cp", "-r", str(self.tree), str(top / "copy")), os.sync()))
            self.note("copy overlay", copied)
            self.note("commit overlay", timed(lambda: self.artifactfs("commit", "base:@bench")))
        with self.staged("union") as top, loopback(self.work) as loop:
            self.note("untar union", untar(self.short, top / "src"))
            self.note("untar loopback", untar(self.short, loop))
            self.write_in_turn({"union": top, "loopback": loop}, self.mib // 4)
            self.note("rename union", timed(lambda: os.rename(top / "src", top / "moved")))

    def write_in_turn(self, places: dict[str, Path], mib: int) -> None:
        """Write a large file in each of some directories, and again: disks are fast one moment and slow the next."""
        for _ in range(3):
            for name, top in places.items():
                self.note(f"write {name}", write_large(top / "big", mib))
                (top / "big").unlink()

    @contextmanager
    def staged(self, driver: str) -> Iterator[Path]:
        """Give a fresh staging directory."""
        self.artifactfs("stage", "base:v0", "--name", "bench", "--driver", driver)
        try:
            yield self.mount / "base" / "@bench"
        finally:
            self.artifactfs("discard", "--yes", "base:@bench")

    def close(self) -> None:
        """Unmount."""
        self.artifactfs("umount", str(self.mount))

    def format(self) -> str:
        """Return the table: medians, and ratios within each run."""
        rows = [["what", "beside", "staging directory", "ratio of times", "at most"]]
        for what, ours, other, limit in (
            ("untar, sources", "untar overlay", "untar ext4", "1.3"),
            (f"write {self.mib} MiB, fsync", "write overlay", "write ext4", "1.3"),
            ("commit after a copy; the copy and sync", "commit overlay", "copy overlay", "1.0"),
            ("union: untar; a bare loopback by fusepy", "untar union", "untar loopback", "1.5"),
            (f"union: write {self.mib // 4} MiB, fsync; loopback", "write union", "write loopback", "1.5"),
        ):
            mine, theirs = self.seconds[ours], self.seconds[other]
            ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
            times = (f"{statistics.median(each):.2f} s" for each in (theirs, mine))
            rows.append([what, *times, f"{ratio:.2f}", limit])
        for driver in ("overlay", "union"):
            spent = statistics.median(self.seconds[f"rename {driver}"]) * 1000
            rows.append([f"rename a directory of {self.copied:,} files, {driver}", "", f"{spent:.1f} ms", "", "10 ms"])
        return format_table(rows)


class LargeBench:
    """A version of very many files, in one directory, and a mount of it."""

    def __init__(self, work: Path, *, count: int) -> None:
        self.work, self.count = work, count
        places = {"REPO": "repo", "STATE": "state", "CACHE": "cache", "RUNTIME": "run", "CONFIG": "config.toml"}
        self._environment = {f"ARTIFACTFS_{name}": str(work / folder) for name, folder in places.items()}
        (work / "config.toml").touch()
        (work / "mnt").mkdir()

    def artifactfs(self, *arguments: str) -> None:
        """Run a command."""
        run(ARTIFACTFS, "--quiet", *arguments, **self._environment)

    def make(self) -> None:
        """Make the version: src/000/000 and so on."""
        for number in range(0, self.count, 1000):
            folder = self.work / "tree" / "src" / f"{number // 1000:03d}"
            folder.mkdir(parents=True)
            for each in range(min(1000, self.count - number)):
                os.close(os.open(f"{folder}/{each:03d}", os.O_CREAT | os.O_WRONLY))
        self.artifactfs("put", "base", f"{self.work}/tree/.")

    def measure(self) -> list[list[str]]:
        """Return a row of milliseconds for each driver: the median, the shortest, and of commits the processor's."""
        rows = [["driver", "rename", "commit of that", "commit after one changed file"]]
        self.artifactfs("mount", str(self.work / "mnt"))
        try:
            rows += [
                [driver, *map(_describe, zip(*(self._take(driver) for _ in range(TIMES)), strict=True))]
                for driver in ("overlay", "union")
            ]
        finally:
            self.artifactfs("umount", str(self.work / "mnt"))
        return rows

    def _take(self, driver: str) -> list[tuple[float, float]]:
        """Rename, commit, change a file, commit; return seconds by the clock, and of the processor for commits."""
        self.artifactfs("stage", "base:v0", "--name", driver, "--driver", driver)
        top, ref = self.work / "mnt" / "base" / f"@{driver}", f"base:@{driver}"
        spent = [(timed(lambda: os.rename(top / "src", top / "moved")), 0.0), self._commit(ref)]
        (top / "moved" / "000" / "007").write_text("changed")
        spent.append(self._commit(ref))
        self.artifactfs("--yes", "discard", ref)
        return spent

    def _commit(self, ref: str) -> tuple[float, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = timed(lambda: self.artifactfs("commit", ref))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _describe(spent: Sequence[tuple[float, float]]) -> str:
    clock, processor = ([each[place] * 1000 for each in spent] for place in (0, 1))
    used = f"; {statistics.median(processor):.0f} of the processor" if any(processor) else ""
    return f"{statistics.median(clock):.1f} ms, {min(clock):.1f}{used}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--files", type=int, default=70_000)
    parser.add_argument("--copied", type=int, default=20_000, help="files of the version, and of each copy")
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--where", default=None)
    parser.add_argument("--large", type=int, metavar="COUNT", help="only renaming, and commits, of so many files")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="artifactfs-staging-", dir=given.where) as name:
        if given.large:
            large = LargeBench(Path(name), count=given.large)
            large.make()
            print(format_table(large.measure()))
            return
        bench = Bench(Path(name), files=given.files, small=given.copied, mib=given.mib)
        try:
            for _ in range(given.runs):
                bench.run_once()
        finally:
            bench.close()
        print(bench.format())


if __name__ == "__main__":
    main()
