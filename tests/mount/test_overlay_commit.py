"""What a commit makes of an upper directory that the kernel's overlayfs wrote: exactly what the overlay showed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.errors import UsageError
from artifactfs.model import Root
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.repository.put import put_paths
from artifactfs.repository.repository import Repository
from artifactfs.repository.sources import Source
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import OVERLAY, write_driver
from artifactfs.testing.repositories import commit_files, make_repository
from tests.mount.overlay_support import overlaid

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(not may_overlay(), reason="needs CAP_SYS_ADMIN in the initial user namespace"),
]

FILES = {
    b"a.txt": b"alpha\n",
    b"empty": b"",
    b"link": "a.txt",
    b"images": {b"cat": b"meow" * 1000, b"dog": b"woof", b"deep": {b"er": {b"x": b"x"}}, b"none": {}},
    b"other": {b"one": b"1", b"two": b"2"},
}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path) as repository:
        yield repository


@pytest.fixture
def area(repository: Repository) -> StagingArea:
    return StagingArea(repository)


@pytest.fixture
def staging(repository: Repository, area: StagingArea) -> Staging:
    return area.create("animals", version=commit_files(repository, "animals", FILES))


@pytest.fixture
def top(repository: Repository, staging: Staging, tmp_path: Path) -> Iterator[Path]:
    work = tmp_path / "overlay"
    work.mkdir()
    with overlaid(repository, staging, work) as top:
        yield top


class Unlocked:
    """Stands for a server that has frozen what it serves: nothing is written in these tests."""

    def freeze(self, staging: Staging):
        import contextlib

        return contextlib.nullcontext(lambda: None)


def commit(area: StagingArea, staging: Staging) -> Root:
    return area.commit(staging, freezer=Unlocked()).result.version.root


def check(repository: Repository, area: StagingArea, staging: Staging, top: Path) -> Root:
    """Commit, and compare with a `put` of what the overlay shows: modes, times, names and bytes."""
    os.sync()
    shown = put_paths(repository, "shown", [Source(bytes(top) + b"/.")]).version.root
    root = commit(area, staging)
    assert root.tree == shown.tree
    assert area.changes(area.get("animals")) == []
    return root


def test_nothing_changed(repository: Repository, area: StagingArea, staging: Staging, top: Path) -> None:
    assert check(repository, area, staging, top).tree == staging.info.root.tree


def test_deleted_files_and_directories(repository: Repository, area: StagingArea, staging: Staging, top: Path) -> None:
    (top / "a.txt").unlink()
    shutil.rmtree(top / "images" / "deep")
    (top / "images" / "none").rmdir()
    check(repository, area, staging, top)


def test_a_directory_that_was_removed_and_made_again_is_empty(
    repository: Repository, area: StagingArea, staging: Staging, top: Path
) -> None:
    shutil.rmtree(top / "images")
    (top / "images").mkdir()
    (top / "images" / "new").write_text("new")
    assert os.getxattr(os.path.join(staging.upper, b"images"), "trusted.overlay.opaque") == b"y"
    check(repository, area, staging, top)


def test_redirects_by_name_and_by_path(repository: Repository, area: StagingArea, staging: Staging, top: Path) -> None:
    os.rename(top / "images" / "deep", top / "images" / "shallow")
    assert os.getxattr(os.path.join(staging.upper, b"images/shallow"), "trusted.overlay.redirect") == b"deep"
    check(repository, area, staging, top)
    os.rename(top / "images", top / "other" / "pictures")
    assert os.getxattr(os.path.join(staging.upper, b"other/pictures"), "trusted.overlay.redirect") == b"/images"
    check(repository, area, staging, top)
    os.rename(top / "other" / "pictures" / "shallow", top / "top")
    (top / "top" / "er" / "y").write_text("y")
    os.rename(top / "top" / "er", top / "top" / "re")
    (top / "images").mkdir()
    check(repository, area, staging, top)


def test_a_renamed_directory_costs_no_reading(
    area: StagingArea, staging: Staging, top: Path, repository: Repository
) -> None:
    os.rename(top / "images", top / "pictures")
    assert [(change.kind, change.old_path, change.path) for change in area.changes(staging)] == [
        ("renamed", b"images", b"pictures")
    ]
    assert sum(len(files) for _, _, files in os.walk(staging.upper)) == 1  # the whiteout


def test_types_that_change_and_change_back(
    repository: Repository, area: StagingArea, staging: Staging, top: Path
) -> None:
    (top / "a.txt").unlink()
    (top / "a.txt").mkdir()
    (top / "a.txt" / "in").write_text("in")
    shutil.rmtree(top / "images")
    (top / "images").symlink_to("a.txt")
    (top / "link").unlink()
    (top / "link").write_text("file")
    check(repository, area, staging, top)
    shutil.rmtree(top / "a.txt")
    (top / "a.txt").write_text("alpha again\n")
    (top / "images").unlink()
    (top / "images").mkdir()
    (top / "link").unlink()
    (top / "link").symlink_to("a.txt")
    check(repository, area, staging, top)


def test_hard_links(repository: Repository, area: StagingArea, staging: Staging, top: Path) -> None:
    os.link(top / "a.txt", top / "images" / "linked")
    (top / "images" / "linked").write_text("through one name\n")
    os.link(top / "link", top / "linked-link", follow_symlinks=False)
    check(repository, area, staging, top)
    assert (top / "a.txt").read_text() == "through one name\n"


def test_modes_times_and_sparse_files(repository: Repository, area: StagingArea, staging: Staging, top: Path) -> None:
    os.chmod(top / "a.txt", 0o4750)
    os.chmod(top / "images", 0o1777)
    os.utime(top / "empty", ns=(5, 1_234_567_890_123_456_789))
    os.utime(top / "images" / "none", ns=(-5_000_000_000, -5_000_000_000))
    os.truncate(top / "images" / "dog", 10_000_000)
    root = check(repository, area, staging, top)
    assert root.size > 10_000_000


def test_names_of_255_bytes_and_long_paths(
    repository: Repository, area: StagingArea, staging: Staging, top: Path
) -> None:
    name = b"\xff" * 255
    directory = os.open(top, os.O_RDONLY)
    length = 0
    while length + 256 < 4096 - 256:
        os.mkdir(name, dir_fd=directory)
        below = os.open(name, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
        length += 256
    descriptor = os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory)
    os.write(descriptor, b"far down")
    os.close(descriptor)
    os.close(directory)
    check(repository, area, staging, top)


def test_extended_attributes_are_dropped_and_said(area: StagingArea, staging: Staging, top: Path) -> None:
    os.setxattr(top / "a.txt", "user.mine", b"1")
    os.setxattr(top / "images", "trusted.mine", b"1")
    result = area.commit(staging, freezer=Unlocked()).result
    assert {item.path: item.names for item in result.dropped_xattrs} == {
        b"a.txt": ("user.mine",),
        b"images": ("trusted.mine",),
    }


def test_devices_stop_a_commit_and_are_named(area: StagingArea, staging: Staging, top: Path) -> None:
    os.mknod(top / "images" / "null", 0o20666, os.makedev(1, 3))
    os.mkfifo(top / "fifo")
    with pytest.raises(UsageError, match="fifo, images/null"):
        commit(area, staging)


def test_a_file_without_its_data_stops_a_commit(area: StagingArea, staging: Staging, top: Path) -> None:
    os.chmod(top / "a.txt", 0o600)
    os.setxattr(os.path.join(staging.upper, b"a.txt"), "trusted.overlay.metacopy", b"")
    with pytest.raises(UsageError, match="metacopy"):
        commit(area, staging)


def test_whiteouts_that_are_files(area: StagingArea, staging: Staging) -> None:
    write_driver(staging.layout, OVERLAY)
    upper = Path(os.fsdecode(staging.upper))
    (upper / "other").mkdir(mode=0o755)
    os.setxattr(upper / "other", "trusted.overlay.opaque", b"x")
    (upper / "other" / "one").touch()
    os.setxattr(upper / "other" / "one", "trusted.overlay.whiteout", b"y")
    (upper / "other" / "empty").touch()
    (upper / "empty").touch()
    os.setxattr(upper / "empty", "trusted.overlay.whiteout", b"y")  # its directory does not say that there are such
    changes = {change.path: change.kind for change in area.changes(staging)}
    assert changes == {b"other/one": "deleted", b"other/empty": "added"}


def test_what_git_writes(repository: Repository, area: StagingArea, staging: Staging, top: Path) -> None:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "-q"], cwd=top, check=True)
    subprocess.run(["git", "add", "."], cwd=top, check=True)
    check(repository, area, staging, top)
