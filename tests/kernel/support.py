"""Repositories in mounts by the kernel transport, and what tests ask of them. The fixtures are in `conftest`."""

from __future__ import annotations

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
