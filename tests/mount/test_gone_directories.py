"""Directories that are removed, renamed or full below a mount: errors, never other content, and it can be unmounted."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.blobstore.local import open_local_store
from artifactfs.errors import ArtifactFSError, RepositoryGoneError
from artifactfs.mount import api
from artifactfs.mount.kernel.asking import find_figures
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.registry import slot_for
from artifactfs.repository.repository import Repository

from .conftest import Folders, errno_of, put, wait_until

mounted_test = pytest.mark.mounted


def kill_workers(info: MountInfo) -> None:
    figures = find_figures(info)
    assert figures is not None
    for pid in figures["workers"]:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(figures["workers"]) & set((find_figures(info) or figures)["workers"]))


def is_right(seen: Path, tree: Path) -> bool:
    done = subprocess.run(["diff", "-r", f"{tree}/.", f"{seen}/."], capture_output=True, check=False, timeout=60)
    return done.returncode == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    for number in range(20):
        (root / "folder" / f"{number}").write_bytes(f"{number}\n".encode() * 50)
    (root / "large").write_bytes(os.urandom(3 << 20))
    return root


@mounted_test
def test_a_repository_that_was_renamed_is_an_error_until_it_is_back(
    folders: Folders, repository: Repository, mountpoint: Path, tree: Path, transport: str
) -> None:
    put(repository, tree, name="own")
    info = api.mount(folders, str(mountpoint), options=MountOptions(transport=transport))
    os.rename(folders.repository, f"{folders.repository}.away")
    large = mountpoint / "own" / "v0" / "large"
    assert errno_of(lambda: os.listdir(mountpoint / "own")) == errno.EIO
    assert errno_of(large.read_bytes) == errno.EIO
    assert f"the repository {folders.repository} is gone" in Path(info.log).read_text()
    if transport == "kernel":
        kill_workers(info)
        assert errno_of(lambda: os.listdir(mountpoint / "own")) == errno.EIO
        assert errno_of(large.read_bytes) == errno.EIO
    os.rename(f"{folders.repository}.away", folders.repository)
    wait_until(lambda: is_right(mountpoint / "own" / "v0", tree), seconds=30)
    api.unmount(folders, info.mountpoint)


@mounted_test
def test_what_shows_a_removed_repository_can_be_unmounted(
    folders: Folders, repository: Repository, mountpoint: Path, tree: Path, transport: str
) -> None:
    put(repository, tree, name="own")
    info = api.mount(folders, str(mountpoint), options=MountOptions(transport=transport))
    shutil.rmtree(folders.repository)
    if transport == "kernel":
        kill_workers(info)
    assert errno_of(lambda: os.listdir(mountpoint / "own")) == errno.EIO
    api.unmount(folders, info.mountpoint)
    assert os.listdir(mountpoint) == []


@mounted_test
def test_a_mount_goes_on_without_its_state_directory(
    folders: Folders, repository: Repository, mountpoint: Path, tree: Path
) -> None:
    put(repository, tree, name="own")
    info = api.mount(folders, str(mountpoint), options=MountOptions(transport="kernel"))
    while os.path.lexists(folders.state):  # the server may write there meanwhile
        shutil.rmtree(folders.state, ignore_errors=True)
    assert is_right(mountpoint / "own" / "v0", tree)
    kill_workers(info)
    assert is_right(mountpoint / "own" / "v0", tree)
    api.unmount(folders, info.mountpoint)


@mounted_test
@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_mount_that_cannot_be_made_known_ends_at_once(
    folders: Folders, repository: Repository, mountpoint: Path, tree: Path, transport: str
) -> None:
    put(repository, tree, name="own")
    blocked = Path(slot_for(folders, str(mountpoint)).record)
    (blocked / "in the way").mkdir(parents=True)  # as a full disk: the record cannot be written
    os.chmod(folders.runtime, 0o700)
    with pytest.raises(ArtifactFSError, match=str(blocked)):
        api.mount(folders, str(mountpoint), options=MountOptions(transport=transport))
    assert os.listdir(mountpoint) == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.read("packs/00/0"),
        lambda store: store.open("packs/00/0"),
        lambda store: store.find_size("packs/00/0"),
        lambda store: list(store.iter_keys("collections/")),
        lambda store: list(store.iter_children("collections/")),
    ],
)
def test_a_store_without_its_directory_says_so(tmp_path: Path, ask: Callable[[object], object]) -> None:
    (tmp_path / "store").mkdir()
    with open_local_store(str(tmp_path / "store")) as store:
        assert list(store.iter_keys("collections/")) == []
        os.rename(tmp_path / "store", tmp_path / "away")
        with pytest.raises(RepositoryGoneError, match=str(tmp_path / "store")):
            ask(store)
        os.rename(tmp_path / "away", tmp_path / "store")
        assert store.find_size("packs/00/0") is None
