"""Files of equal content, mode and time share a node in versions; in a staging directory each is a file of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.mount import api
from artifactfs.mount.options import MountInfo
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from tests.mount.conftest import Folders, put
from tests.mount.staging_support import area, commit, driver, transport

__all__ = ["area", "commit", "driver", "transport"]
pytestmark = pytest.mark.mounted


@pytest.fixture
def equal(
    folders: Folders, mounted: MountInfo, repository: Repository, area: StagingArea, driver: str, tmp_path: Path
) -> tuple[Staging, Path]:
    """Return a staging directory with files `a`, `b`, `c` and `d/e` that are equal."""
    source = tmp_path / "equal"
    (source / "d").mkdir(parents=True)
    for name in ("a", "b", "c", "d/e"):
        (source / name).write_text("same\n")
        os.utime(source / name, ns=(10**18, 10**18))
    put(repository, source, name="equal")
    staging = area.create("equal", version=repository.get_collection("equal").versions[0], driver=driver)
    path = api.attach_staging(folders, repository, staging=staging)
    assert path is not None
    return staging, Path(path)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_each_is_changed_alone(
    equal: tuple[Staging, Path], commit: Callable[[Staging], int], mounted: MountInfo
) -> None:
    staging, path = equal
    assert [(path / name).read_text() for name in ("a", "b", "c", "d/e")] == ["same\n"] * 4
    (path / "a").chmod(0o600)
    assert (path / "b").stat().st_mode & 0o777 != 0o600
    append(path / "a", "two\n")
    append(path / "c", "three\n")
    expected = {"a": "same\ntwo\n", "b": "same\n", "c": "same\nthree\n", "d/e": "same\n"}
    assert {name: (path / name).read_text() for name in expected} == expected
    number = commit(staging)
    made = Path(mounted.mountpoint, "equal", f"v{number}")
    assert {name: (made / name).read_text() for name in expected} == expected


def test_they_are_not_one_file(equal: tuple[Staging, Path]) -> None:
    _, path = equal
    statuses = [(path / name).stat() for name in ("a", "b", "c", "d/e")]
    assert len({status.st_ino for status in statuses}) == 4
    assert {status.st_nlink for status in statuses} == {1}
    (path / "a").unlink()
    os.link(path / "b", path / "bb")
    os.rename(path / "b", path / "c")
    assert sorted(os.listdir(path)) == ["bb", "c", "d"]
