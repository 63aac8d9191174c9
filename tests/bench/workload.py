"""The tree that is measured, and the ways in which it is read."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BUFFER_SIZE = 1 << 20
RANDOM_COUNT = 2000


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the tree is: directories of small files, and one big file."""

    directories: int = 200
    files: int = 100
    size: int = 16384
    big_mib: int = 2048

    @property
    def file_count(self) -> int:
        """How many small files there are."""
        return self.directories * self.files


def make_tree(root: Path, shape: Shape) -> None:
    """Write `root`/small/dNNNN/fNNNNN, all of different content, and `root`/big."""
    rng = random.Random(1)
    noise = rng.randbytes(shape.size * 2)
    for directory in range(shape.directories):
        folder = root / "small" / f"d{directory:04d}"
        folder.mkdir(parents=True)
        for number in range(shape.files):
            start = rng.randrange(shape.size)
            tail = f"{directory}/{number}".encode()
            (folder / f"f{number:05d}").write_bytes(noise[start : start + shape.size - len(tail)] + tail)
    with (root / "big").open("wb") as big:
        for _ in range(shape.big_mib):
            big.write(rng.randbytes(1 << 20))


def drop_caches() -> None:
    """Empty the kernel's page, name and inode caches (root only)."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def run(*command: str, cwd: Path | None = None, **environment: str) -> None:
    """Run a command that must succeed; its output is shown only when it does not.

    An empty variable is taken out of the environment.
    """
    variables = {key: value for key, value in {**os.environ, **environment}.items() if value}
    done = subprocess.run(command, check=False, capture_output=True, cwd=cwd, env=variables)
    if done.returncode != 0:
        sys.stderr.write(done.stderr.decode(errors="replace"))
        done.check_returncode()


def iter_files(root: Path) -> Iterator[str]:
    """Yield every file below `root/small`, directory by directory."""
    for folder, _, names in os.walk(root / "small"):
        for name in names:
            yield os.path.join(folder, name)


def walk_and_stat(root: Path) -> None:
    """List every directory and stat every file."""
    for path in list(iter_files(root)):
        os.stat(path)


def shuffled_files(root: Path) -> list[str]:
    """Return every small file in a fixed random order."""
    return shuffle(list(iter_files(root)))


def shuffle(paths: list[str]) -> list[str]:
    """Return paths in a fixed random order, whatever order they come in."""
    paths = sorted(paths)
    random.Random(2).shuffle(paths)
    return paths


def read_files(paths: list[str]) -> None:
    """Read each file to its end."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        while os.read(descriptor, BUFFER_SIZE):
            pass
        os.close(descriptor)


def read_big(root: Path) -> None:
    """Read the big file from start to end."""
    descriptor = os.open(root / "big", os.O_RDONLY)
    buffer = bytearray(BUFFER_SIZE)
    while os.readv(descriptor, [buffer]):
        pass
    os.close(descriptor)


def read_random(root: Path, *, count: int = RANDOM_COUNT, size: int = 65536) -> None:
    """Read pieces of the big file at random places."""
    rng = random.Random(3)
    descriptor = os.open(root / "big", os.O_RDONLY)
    end = os.fstat(descriptor).st_size - size
    for _ in range(count):
        os.pread(descriptor, size, rng.randrange(end) & ~4095)
    os.close(descriptor)
