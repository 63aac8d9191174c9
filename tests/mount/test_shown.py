"""Prune keeps what mounts show that were made from another runtime directory, as long as these live."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from artifactfs.mount import api
from artifactfs.mount.holds import open_holds
from artifactfs.mount.kernel.asking import upgrade_mount
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.shown import Shown, find_shown
from artifactfs.repository import changes
from artifactfs.repository.locked import Locked
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.repository import Repository
from tests.mount.conftest import Folders, end_servers, iter_servers, put, wait_until

pytestmark = pytest.mark.xdist_group("mount")


@pytest.fixture
def others(folders: Folders, tmp_path: Path) -> Iterator[Folders]:
    """Return the directories of somebody else who uses the same repository."""
    found = {name: str(tmp_path / f"other-{name}") for name in ("state", "cache", "runtime")}
    for path in found.values():
        os.mkdir(path, 0o700)
    yield replace(folders, **found)
    end_servers(str(tmp_path))


@pytest.fixture
def two(repository: Repository, tmp_path: Path) -> Repository:
    """Return a repository with `animals:v0`, and `animals:v1`, which has nothing of it."""
    put(repository, make_other(tmp_path / "second"))
    return repository


def make_other(top: Path) -> Path:
    """Return a new directory with one file."""
    top.mkdir()
    (top / "README").write_text(f"hello again from {top.name}\n")
    return top


def remove(repository: Repository) -> None:
    repository.append("animals", lambda state: changes.delete_version(state, number=0, force=True))


def prune(repository: Repository, folders: Folders, *, patience: float = 10) -> int:
    """Prune from `folders`, and return how many objects were deleted."""
    repository.blobs.forget()

    def shown() -> Shown:
        return find_shown(folders, repository.id, repository.location, patience=patience)

    return delete_garbage(repository, find_garbage(repository, shown), shown).count


def mount(places: Folders, mountpoint: Path, transport: str, **more: object) -> MountInfo:
    return api.mount(places, str(mountpoint), options=MountOptions(transport=transport, **more))  # type: ignore[arg-type]


def kill(info: MountInfo) -> None:
    """Kill all processes of a server at once."""
    servers = list(iter_servers(os.path.dirname(info.mountpoint)))
    assert info.pid in servers
    for pid in servers:
        with suppress(ProcessLookupError):  # it ended with the one before
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not list(iter_servers(os.path.dirname(info.mountpoint))))


def test_a_version_that_another_one_mounted_is_kept_until_he_unmounts(
    folders: Folders, others: Folders, two: Repository, mountpoint: Path, transport: str
) -> None:
    mount(others, mountpoint, transport, artifact="animals:v0")
    remove(two)
    assert prune(two, folders) == 0
    assert (mountpoint / "README").read_text() == "hello\n"
    api.unmount(others, str(mountpoint))
    assert prune(two, folders) > 0


def test_a_mount_that_was_killed_keeps_nothing(
    folders: Folders, others: Folders, two: Repository, mountpoint: Path, transport: str
) -> None:
    info = mount(others, mountpoint, transport, artifact="animals:v0")
    remove(two)
    assert prune(two, folders) == 0
    kill(info)
    wait_until(lambda: prune(two, folders) > 0)  # its files are closed a moment after its memory is gone


def test_where_a_process_stands_is_kept(
    folders: Folders, others: Folders, two: Repository, mountpoint: Path, transport: str
) -> None:
    mount(others, mountpoint, transport)
    with open(mountpoint / "animals" / "v0" / "big", "rb") as file:
        file.read(1)
        remove(two)
        assert prune(two, folders) == 0
        assert len(file.read()) > 1 << 20
    assert prune(two, folders) > 0, "nobody is inside any more, and the mount goes on"
    assert (mountpoint / "animals" / "v1" / "README").read_text() == "hello again from second\n"


def test_a_mount_of_the_repository_that_was_killed_keeps_nothing(
    folders: Folders, others: Folders, two: Repository, mountpoint: Path, transport: str
) -> None:
    info = mount(others, mountpoint, transport)
    descriptor = os.open(mountpoint / "animals" / "v0" / "README", os.O_RDONLY)
    remove(two)
    assert prune(two, folders) == 0
    kill(info)
    assert prune(two, folders) > 0
    with suppress(OSError):  # nobody is there to be told
        os.close(descriptor)


def test_a_mount_that_does_not_answer_keeps_all_that_was_removed(
    folders: Folders, others: Folders, two: Repository, mountpoint: Path
) -> None:
    info = mount(others, mountpoint, "kernel")
    (mountpoint / "animals" / "v0" / "README").read_bytes()
    servers = list(iter_servers(os.path.dirname(info.mountpoint)))
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    try:
        remove(two)
        assert find_shown(folders, two.id, two.location, patience=0.1).unanswered == 1
        assert prune(two, folders, patience=0.1) == 0
    finally:
        for pid in servers:
            os.kill(pid, signal.SIGCONT)
    assert prune(two, folders) > 0


def test_what_was_deleted_before_hinders_no_prune(
    folders: Folders, others: Folders, two: Repository, mountpoint: Path, tmp_path: Path
) -> None:
    """A version that only counts as shown need not be there any more."""
    remove(two)
    assert prune(two, folders) > 0
    put(two, make_other(tmp_path / "third"), name="plants")
    two.append("plants", lambda state: changes.delete_version(state, number=0, force=True))
    info = mount(others, mountpoint, "kernel")
    servers = list(iter_servers(os.path.dirname(info.mountpoint)))
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    try:
        shown = find_shown(folders, two.id, two.location, patience=0.1)
        assert find_garbage(two, lambda: shown).kept == ("plants:v0",)
    finally:
        for pid in servers:
            os.kill(pid, signal.SIGCONT)


def test_what_a_lock_file_lets_see_is_kept(
    folders: Folders, others: Folders, two: Repository, mountpoint: Path, transport: str
) -> None:
    mount(others, mountpoint, transport, locked=Locked({"animals": [0]}, {}))
    remove(two)
    assert prune(two, folders) == 0
    api.unmount(others, str(mountpoint))
    assert prune(two, folders) > 0


def test_it_is_kept_across_an_upgrade(folders: Folders, others: Folders, two: Repository, mountpoint: Path) -> None:
    mount(others, mountpoint, "kernel", artifact="animals:v0")
    upgrade_mount(others, str(mountpoint))
    remove(two)
    assert prune(two, folders) == 0
    api.unmount(others, str(mountpoint))
    assert prune(two, folders) > 0


def test_reading_the_file_is_enough(two: Repository) -> None:
    """Somebody who may not write to the repository is seen, too; and nobody sees himself."""
    first, second = open_holds(two.location), open_holds(two.location)
    assert first is not None
    assert second is not None
    descriptor = os.open(f"/proc/self/fd/{second.descriptor}", os.O_RDONLY)
    os.dup2(descriptor, second.descriptor)
    os.close(descriptor)
    second.hold([("animals", 0), ("plants", 7)])
    for mount_number in (9, 3, 1 << 59):
        second.announce(mount_number)
    assert [first.is_held(version) for version in (("animals", 0), ("plants", 7), ("animals", 7))] == [
        True,
        True,
        False,
    ]
    assert first.find_mounts() == {9, 3, 1 << 59}
    assert second.find_mounts() == set()
    second.release([("animals", 0)])
    assert not first.is_held(("animals", 0))
    second.close()
    assert first.find_mounts() == set()
    first.close()
