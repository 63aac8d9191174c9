"""A union over a small version, in a directory of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from artifactfs.repository.lower import Lower
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import serving
from artifactfs.testing.repositories import TIME_NS, commit_files, make_repository
from artifactfs.vfs.union.gate import Gate
from artifactfs.vfs.union.union import Caller, Union

FILES = {
    b"a.txt": b"alpha\n",
    b"empty": b"",
    b"link": "a.txt",
    b"images": {b"cat": b"meow" * 1000, b"dog": b"woof", b"deep": {b"er": {b"x": b"x"}}, b"none": {}},
}


def write_plain(root: bytes, files: dict[bytes, Any]) -> None:
    for name, content in files.items():
        path = root + b"/" + name
        if isinstance(content, bytes):
            Path(os.fsdecode(path)).write_bytes(content)
            os.chmod(path, 0o644)
            os.utime(path, ns=(TIME_NS, TIME_NS))
        elif isinstance(content, str):
            os.symlink(content, path)
        else:
            os.mkdir(path, 0o755)
            write_plain(path, content)


def outcome(action: Callable[[], object]) -> int | None:
    """Return the errno with which an action fails, or None."""
    try:
        action()
    except OSError as error:
        return error.errno
    return None


@contextmanager
def serve(repository: Repository, staging: Staging) -> Iterator[Union]:
    with serving(staging.layout):
        gate = Gate(name=str(staging), describe_process=lambda pid: f"process {pid}")
        lower = Lower(repository, staging.info.root)
        with Union(staging.upper, staging.layout.work, lower, gate=gate, quota=staging.info.quota) as union:
            yield union


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path) as repository:
        yield repository


@pytest.fixture
def area(repository: Repository) -> StagingArea:
    return StagingArea(repository)


@pytest.fixture
def staging(repository: Repository, area: StagingArea) -> Staging:
    version = commit_files(repository, "animals", FILES)
    return area.create("animals", version=version, followed="latest")


@pytest.fixture
def union(repository: Repository, staging: Staging) -> Iterator[Union]:
    with serve(repository, staging) as union:
        yield union


@pytest.fixture
def me() -> Caller:
    return Caller(os.getpid(), os.geteuid(), os.getegid())
