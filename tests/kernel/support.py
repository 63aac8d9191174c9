"""Repositories in mounts by the kernel transport, and what tests ask of them. The fixtures are in `conftest`."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from artifactfs.mount.kernel.asking import find_figures
from artifactfs.mount.options import MountInfo
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class Folders:
    repository: str
    state: str
    cache: str
    runtime: str


def put(repository: Repository, name: str, tree: Path, *, aliases: tuple[str, ...] = ()) -> str:
    found = put_paths(repository, name, [Source(os.fsencode(tree), b"")], options=CommitOptions(aliases=aliases))
    return found.version.name


Mount = Callable[..., MountInfo]


def slurp(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    with open(descriptor, "rb", buffering=0) as file:
        return file.readall()


def requests(info: MountInfo) -> dict[str, int]:
    """Return how many requests of each kind were answered, once all have been counted."""
    found, before = None, {}
    while found != before or found is None:
        before = found or {}
        time.sleep(0.02)
        figures = find_figures(info)
        assert figures is not None
        found = figures["requests"]
    return {kind: count for kind, count in found.items() if kind not in {"ioctl", "getxattr"}}


def workers(info: MountInfo) -> list[int]:
    figures = find_figures(info)
    assert figures is not None
    return figures["workers"]


@contextmanager
def timed(limit: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < limit


def resident(path: Path) -> int:
    """Return how many bytes of a file are in the page cache. Source: mincore(2)."""
    library = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (len(mapped) + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        found = (ctypes.c_ubyte * pages)()
        address = ctypes.c_char.from_buffer(mapped)
        assert library.mincore(ctypes.byref(address), ctypes.c_size_t(len(mapped)), found) == 0
        del address
    return sum(page & 1 for page in found) * mmap.PAGESIZE


def forget(path: Path) -> None:
    """Give up what the page cache has of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())  # what is dirty cannot be dropped
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
