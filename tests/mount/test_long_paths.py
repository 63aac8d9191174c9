"""Names of 255 bytes and paths of 4,095, as far as a program can name them, in staging directories of both drivers."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artifactfs.errors import NameTooLongError
from artifactfs.mount import api
from artifactfs.mount.freezing import MountFreezer
from artifactfs.mount.options import MountInfo
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import StagingArea
from artifactfs.repository.trees import Trees
from artifactfs.staging.files import iter_below, remove_tree
from tests.mount.conftest import Folders, errno_of

pytestmark = [pytest.mark.mounted]
NAME = "n" * 255
LONGEST = "/".join([NAME] * 15 + ["n" * 253, "x"])
"""The longest path that a system call takes: 4,096 bytes with the NUL."""


@pytest.fixture
def transport() -> str:
    return "auto"


@pytest.fixture(params=["overlay", "union"])
def top(request: pytest.FixtureRequest, folders: Folders, mounted: MountInfo, repository: Repository) -> Path:
    if request.param == "overlay" and not may_overlay():
        pytest.skip("needs CAP_SYS_ADMIN in the initial user namespace")
    version = repository.get_collection("animals").versions[0]
    staging = StagingArea(repository).create("animals", version=version, driver=request.param)
    path = api.attach_staging(folders, repository, staging=staging)
    assert path is not None
    return Path(path)


@contextmanager
def inside(path: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def test_the_longest_path_is_written_committed_and_discarded(
    folders: Folders, repository: Repository, top: Path
) -> None:
    assert len(LONGEST) == 4095
    with inside(top):
        os.makedirs(os.path.dirname(LONGEST))
        Path(LONGEST).write_text("far down\n")
        os.chmod(LONGEST, 0o640)
        os.rename(LONGEST, LONGEST[:-1] + "y")
        os.rename(LONGEST[:-1] + "y", LONGEST)
        os.link(LONGEST, "near")
        os.truncate(LONGEST, 3)
        assert os.listdir(os.path.dirname(LONGEST)) == ["x"]
        assert (Path("near").read_text(), os.stat(LONGEST).st_mode & 0o777) == ("far", 0o640)
        assert errno_of(lambda: Path("m" * 256).touch()) == 36  # ENAMETOOLONG
    area = StagingArea(repository)
    done = area.commit(area.get("animals"), freezer=MountFreezer(folders, repository.id))
    entry = Trees(repository.blobs).find_placed(done.result.version.root, LONGEST.encode())[0]
    assert (entry.mode, getattr(entry, "size", None)) == (0o640, 3)
    assert area.changes(area.get("animals")) == []
    api.end_staging(folders, repository, area.get("animals"), area)
    assert not os.path.lexists(top)


def make_deep(top: Path, names: list[str]) -> int:
    """Make directories below each other, step by step, and return a descriptor of the last."""
    directory = os.open(top, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=directory)
        below = os.open(name, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    return directory


def write_in(directory: int, name: str) -> None:
    descriptor = os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory)
    os.write(descriptor, b"far down\n")
    os.close(descriptor)


def test_what_only_steps_lead_to_is_committed_or_named(
    folders: Folders, repository: Repository, top: Path, request: pytest.FixtureRequest
) -> None:
    if "union" in request.node.name:
        pytest.skip("libfuse 2 asks by path, and refuses longer ones: ENAMETOOLONG")
    area = StagingArea(repository)
    freezer = MountFreezer(folders, repository.id)
    directory = make_deep(top, [NAME] * 16)
    assert len("/".join([NAME] * 16)) == 4095
    with pytest.raises(OSError, match="too long"):
        os.stat(top / "/".join([NAME] * 16))
    done = area.commit(area.get("animals"), freezer=freezer)
    assert area.changes(area.get("animals")) == []
    write_in(directory, "x")
    for look in (lambda: area.changes(area.get("animals")), lambda: area.commit(area.get("animals"), freezer=freezer)):
        with pytest.raises(NameTooLongError, match=r"n/x has 4097 bytes, over the limit of 4096"):
            look()
    os.mkdir("deeper", dir_fd=directory)
    with pytest.raises(NameTooLongError, match=r"so have 1 more"):
        area.changes(area.get("animals"))
    assert list(repository.load_state("animals").versions) == [0, done.result.version.number]
    for remove, name in ((os.unlink, "x"), (os.rmdir, "deeper")):
        remove(name, dir_fd=directory)
    assert area.changes(area.get("animals")) == []
    write_in(directory, "x")
    os.close(directory)
    api.end_staging(folders, repository, area.get("animals"), area)
    assert not os.path.lexists(top)


def test_more_long_paths_than_a_process_may_open(tmp_path: Path) -> None:
    directory = make_deep(tmp_path, ["top", *[NAME] * 8])
    for number in range(200):
        os.mkdir(str(number), dir_fd=directory)
        os.mkdir(f"{number}/{NAME}", dir_fd=directory)
        os.close(os.open(f"{number}/{NAME}/file", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 100, hard))
    try:
        found = list(iter_below(bytes(tmp_path / "top")))
        assert len(found) == 8 + 3 * 200
        remove_tree(bytes(tmp_path / "top"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_what_is_deeper_than_a_path_can_say_is_walked_and_removed(tmp_path: Path) -> None:
    with inside(tmp_path):
        os.mkdir("top")
        directory = os.open("top", os.O_RDONLY)
    for _ in range(40):
        os.mkdir(NAME, dir_fd=directory)
        below = os.open(NAME, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)
    found = list(iter_below(bytes(tmp_path / "top")))
    assert [is_directory for _, is_directory in found] == [True] * 40 + [False]
    remove_tree(bytes(tmp_path / "top"))
    assert os.listdir(tmp_path) == []
