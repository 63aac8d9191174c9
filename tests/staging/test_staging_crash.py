"""A process that is killed while it makes, commits, renews or removes a staging directory loses nothing.

After each death: what was changed is still there or was removed on purpose, the base is pinned while there is a staging
directory over it, and no pin is left for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artifactfs.errors import StagingNotFoundError
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import serving
from artifactfs.testing.repositories import commit_files, make_repository
from artifactfs.vfs.union.union import Caller
from tests.staging.crashing import Crash, crashing
from tests.staging.union_support import FILES, serve

ME = Caller(os.getpid(), os.geteuid(), os.getegid())
LIMIT = 300


@contextmanager
def fresh(directory: Path) -> Iterator[tuple[Repository, StagingArea]]:
    directory.mkdir(exist_ok=True)
    with make_repository(directory) as repository:
        yield repository, StagingArea(repository)


def change(repository: Repository, staging: Staging, path: bytes, data: bytes) -> None:
    with serve(repository, staging) as union:
        handle = union.create(path, 0o644, os.O_WRONLY, ME)
        union.write(handle, data, offset=0)
        union.release(handle)


def shown(repository: Repository, staging: Staging) -> list[bytes]:
    with serve(repository, staging) as union:
        return [name for name, *_ in union.read_directory(b"")]


def find(area: StagingArea) -> Staging | None:
    try:
        return area.get("animals")
    except StagingNotFoundError:
        return None


def pinned(repository: Repository) -> list[int]:
    return sorted(pin.version for pin in repository.load_state("animals").pins.values())


def check_ends_clean(repository: Repository, area: StagingArea) -> None:
    """Another one is made and removed in this collection: nothing is left of what was interrupted."""
    found = find(area)
    other = area.create("animals", name="other", version=repository.load_state("animals").versions[0])
    area.remove(other)
    if found is not None:
        assert len(pinned(repository)) >= 1, "the base is pinned"
        area.remove(area.get("animals"))
    assert pinned(repository) == []
    folder = Path(repository.state_directory) / "staging" / "animals"
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Path]:
    """Return a directory for each step, one after the other."""
    return (tmp_path / f"step-{number}" for number in range(LIMIT))


def test_making(steps: Iterator[Path]) -> None:
    for at, directory in enumerate(steps):
        with fresh(directory) as (repository, area):
            version = commit_files(repository, "animals", FILES)
            finished = False
            try:
                with crashing(at):
                    area.create("animals", version=version)
                    finished = True
            except Crash:
                pass
        with fresh(directory) as (repository, area):
            staging = find(area)
            assert not finished or staging is not None
            if staging is not None:
                assert pinned(repository) == [0]
                assert shown(repository, staging) == [b"a.txt", b"empty", b"images", b"link"]
            check_ends_clean(repository, area)
        if finished:
            assert at > 5
            return
    pytest.fail("never finished")


def test_committing(steps: Iterator[Path]) -> None:
    for at, directory in enumerate(steps):
        with fresh(directory) as (repository, area):
            staging = area.create("animals", version=commit_files(repository, "animals", FILES))
            change(repository, staging, b"new", b"new")
            finished = False
            try:
                with crashing(at):
                    area.commit(staging)
                    finished = True
            except Crash:
                pass
        with fresh(directory) as (repository, area):
            staging = area.get("animals")
            assert shown(repository, staging) == [b"a.txt", b"empty", b"images", b"link", b"new"]
            versions = repository.load_state("animals").versions
            assert len(versions) == 2 if finished else len(versions) in (1, 2)
            again = area.commit(staging).result
            assert again.version.root.count == 7
            assert all(version.root.count in (6, 7) for version in versions.values())
            assert area.changes(area.get("animals")) == []
            check_ends_clean(repository, area)
        if finished:
            assert at > 5
            return
    pytest.fail("never finished")


def test_renewing(steps: Iterator[Path]) -> None:
    for at, directory in enumerate(steps):
        with fresh(directory) as (repository, area):
            staging = area.create("animals", version=commit_files(repository, "animals", FILES))
            change(repository, staging, b"new", b"new")
            done = area.commit(staging)
            finished = False
            try:
                with serving(done.staging.layout), crashing(at):
                    area.renew(done.staging)
                    finished = True
            except Crash:
                pass
        with fresh(directory) as (repository, area):
            staging = area.get("animals")
            assert staging.info.base in pinned(repository)
            assert shown(repository, staging) == [b"a.txt", b"empty", b"images", b"link", b"new"]
            assert area.changes(staging) == []
            with serving(staging.layout):
                staging = area.renew(staging)
            assert (staging.info.base, os.listdir(staging.upper)) == (1, [])
            uppers = [name for name in os.listdir(staging.layout.directory) if name.startswith(b"upper-")]
            assert uppers == [os.fsencode(staging.info.upper)]
            check_ends_clean(repository, area)
        if finished:
            assert at > 5
            return
    pytest.fail("never finished")


def test_removing(steps: Iterator[Path]) -> None:
    for at, directory in enumerate(steps):
        with fresh(directory) as (repository, area):
            staging = area.create("animals", version=commit_files(repository, "animals", FILES))
            change(repository, staging, b"new", b"new")
            finished = False
            try:
                with crashing(at):
                    area.remove(staging)
                    finished = True
            except Crash:
                pass
        with fresh(directory) as (repository, area):
            staging = find(area)
            assert not (finished and staging)
            if staging is not None:
                assert pinned(repository) == [0]
                assert shown(repository, staging) == [b"a.txt", b"empty", b"images", b"link", b"new"]
            check_ends_clean(repository, area)
        if finished:
            assert at > 5
            return
    pytest.fail("never finished")
