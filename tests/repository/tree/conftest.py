"""What the tests of put, commit, checkout and verify share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.model import FileEntry, Root
from artifactfs.repository.commit import CommitResult
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import find_stored


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    location, state = str(tmp_path / "repository"), str(tmp_path / "state")
    with open_repository(location, state=state, author="ann@host", use_index=False) as opened:
        yield opened


@pytest.fixture
def work(tmp_path: Path) -> Path:
    found = tmp_path / "work"
    found.mkdir()
    return found


def put(repository: Repository, *paths: str | Path | bytes, name: str = "data", **more: object) -> CommitResult:
    return put_paths(repository, name, [Source(os.fsencode(path)) for path in paths], **more)  # type: ignore[arg-type]


def names(repository: Repository, root: Root, path: bytes = b"") -> list[bytes]:
    return [found for found, _ in Trees(repository.blobs).iter_tree(root, path)]


def entry(repository: Repository, result: CommitResult, path: bytes) -> FileEntry:
    found = Trees(repository.blobs).find_entry(result.version.root, path)
    assert isinstance(found, FileEntry)
    return found


class Recorder:
    def __init__(self) -> None:
        self.totals: tuple[int, int] | None = None
        self.files = self.size = 0

    def begin(self, *, files: int, size: int) -> None:
        assert self.totals is None
        self.totals = files, size

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        self.files += files
        self.size += size


def damage(repository: Repository, root: Root, path: bytes) -> None:
    find_stored(repository, root, path).damage()
    repository.blobs.forget()


class Killed(Exception):  # noqa: N818 (an end, not an error)
    pass


class Killer(Recorder):
    """Progress that ends the work after so many files."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        super().advance(files=files, size=size)
        if self.files >= self.after:
            raise Killed


@pytest.fixture
def as_ordinary_user() -> Iterator[Path]:
    """Give a directory of an ordinary user, who this process is until the test ends."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    nobody = 65534
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chown(name, nobody, nobody)
        os.setegid(nobody)
        os.seteuid(nobody)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)
            os.setegid(0)
