"""What the notifier tells the kernel of the catalogue, however much happens between two of its looks."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from artifactfs.blobstore.local import LocalStore
from artifactfs.index.epoch import ROOT_NODE
from artifactfs.index.epochs import open_epoch
from artifactfs.mount.kernel.changes import CatalogueChanges
from artifactfs.mount.kernel.looks import STAGING_FOLDER
from artifactfs.repository import changes
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files
from artifactfs.vfs.catalogue_view import CatalogueView
from artifactfs.vfs.nodes import NodeTable
from artifactfs.vfs.staging_places import NoStaging

from .conftest import command_name, descendants
from .support import Mount
from .waiting import wait_until

MANY = 300


class Watched:
    """The changes of a repository, and the nodes that a mount has shown of it."""

    def __init__(self, repository: Repository, stack: ExitStack) -> None:
        epoch = stack.enter_context(open_epoch(repository.state_directory, random=os.urandom))
        self.nodes = NodeTable(epoch)
        self.changes = CatalogueChanges(repository, self.nodes, staging=NoStaging(), holding=stack.pop_all())

    def told(self) -> set[tuple[int, bytes]]:
        """Return what the kernel is told now: nodes, with b"", and names of directories."""
        found = self.changes.find_changes()
        return {(change.node, name) for change in found for name in (b"", *change.names)}


@pytest.fixture
def watched(repository: Repository) -> Iterator[Watched]:
    for number in range(2):
        commit_files(repository, "animals", {b"a": bytes([number])})
    set_alias(repository, 1, "best")
    with ExitStack() as stack:
        watched = Watched(repository, stack)
        stack.callback(watched.changes.close)
        watched.told()
        assert watched.told() == set()
        yield watched


def set_alias(repository: Repository, version: int, alias: str, name: str = "animals") -> None:
    repository.append(name, lambda state: changes.set_aliases(state, version=version, aliases=[alias]))


def test_an_alias_that_moved_there_and_back_is_told(watched: Watched, repository: Repository) -> None:
    best = watched.nodes.alias("animals", "best")
    set_alias(repository, 0, "best")
    set_alias(repository, 1, "best")
    assert (best, b"") in watched.told()
    assert watched.told() == set()


def test_an_alias_that_came_and_went_is_told(watched: Watched, repository: Repository) -> None:
    set_alias(repository, 0, "brief")
    watched.nodes.alias("animals", "brief")  # a reader looked
    repository.append("animals", lambda state: changes.remove_aliases(state, aliases=["brief"]))
    assert (watched.nodes.collection("animals"), b"brief") in watched.told()


def test_a_version_that_came_and_went_is_told(watched: Watched, repository: Repository) -> None:
    commit_files(repository, "animals", {b"a": b"brief"})
    repository.append("animals", lambda state: changes.delete_version(state, number=2, force=True))
    told = watched.told()
    assert (watched.nodes.collection("animals"), b"v2") in told
    assert (watched.nodes.collection("animals"), b"v1") not in told


def test_collections_that_were_deleted_and_made_again_or_came_and_went_are_told(
    watched: Watched, repository: Repository
) -> None:
    best = watched.nodes.alias("animals", "best")
    repository.append("animals", changes.delete_collection)
    commit_files(repository, "animals", {b"a": b"again"})
    set_alias(repository, 2, "best")
    commit_files(repository, "plants", {b"p": b"1"})
    repository.append("plants", changes.delete_collection)
    animals = watched.nodes.collection("animals")
    assert watched.told() >= {(best, b""), (animals, b"v0"), (animals, b"v1"), (ROOT_NODE, b""), (ROOT_NODE, b"plants")}


def test_a_deleted_version_is_told_of_at_the_first_look(repository: Repository) -> None:
    commit_files(repository, "animals", {b"a": b"1"})
    commit_files(repository, "animals", {b"a": b"2"})
    repository.append("animals", lambda state: changes.delete_version(state, number=0))
    with ExitStack() as stack:
        watched = Watched(repository, stack)
        stack.callback(watched.changes.close)
        assert (watched.nodes.collection("animals"), b"v0") in watched.told()


def test_a_staging_directory_that_came_and_went_is_told(watched: Watched, repository: Repository) -> None:
    place = Path(repository.state_directory, STAGING_FOLDER, "animals", "brief")
    for alone in (False, True):
        place.mkdir(parents=True)
        watched.nodes.staging("animals", "brief")  # a reader looked
        if alone:
            place.rmdir()
        else:
            shutil.rmtree(place.parent.parent)
            place.parent.mkdir(parents=True)
        assert (watched.nodes.collection("animals"), b"@brief") in watched.told()


def test_only_logs_that_changed_are_read(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    names = make_many(repository)
    read: list[str] = []
    real = LocalStore.read
    with ExitStack() as stack:
        watched = Watched(repository, stack)
        stack.callback(watched.changes.close)
        watched.told()
        time.sleep(0.2)  # from here on the logs are older than the clock is coarse
        watched.told()
        monkeypatch.setattr(LocalStore, "read", lambda self, key: read.append(key) or real(self, key))
        assert watched.told() == set()
        assert read == []
        set_alias(repository, 0, "best", names[7])
        read.clear()
        assert (watched.nodes.collection(names[7]), b"best") in watched.told()
    assert read
    assert {key.split("/")[1] for key in read} == {names[7]}


def test_the_time_of_the_root_reads_only_logs_that_changed(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_many(repository, 20)
    time.sleep(0.2)
    read: list[str] = []
    real = LocalStore.read
    with (
        open_epoch(repository.state_directory, random=os.urandom) as epoch,
        CatalogueView(repository, epoch, staging=NoStaging()) as view,
    ):
        before = view.getattr(ROOT_NODE).mtime_ns
        monkeypatch.setattr(LocalStore, "read", lambda self, key: read.append(key) or real(self, key))
        assert view.getattr(ROOT_NODE).mtime_ns == before
        assert read == []
        set_alias(repository, 0, "best", names[7])
        read.clear()
        assert view.getattr(ROOT_NODE).mtime_ns > before
    assert {key.split("/")[1] for key in read} == {names[7]}


@pytest.mark.mounted
def test_an_alias_that_moved_while_the_notifier_slept_is_not_stale(mount: Mount, repository: Repository) -> None:
    for number in range(2):
        commit_files(repository, "animals", {b"a": bytes([number])})
    set_alias(repository, 1, "best")
    info = mount()
    path = Path(info.mountpoint) / "animals" / "best"
    wait_until(lambda: any(command_name(pid) == "af-notifier" for pid in descendants(info.pid)))
    notifier = next(pid for pid in descendants(info.pid) if command_name(pid) == "af-notifier")
    time.sleep(0.5)  # it has looked for the first time
    os.kill(notifier, signal.SIGSTOP)
    try:
        set_alias(repository, 0, "best")
        assert path.readlink() == Path("v0")
        set_alias(repository, 1, "best")
    finally:
        os.kill(notifier, signal.SIGCONT)
    wait_until(lambda: path.readlink() == Path("v1"), seconds=3)


@pytest.mark.mounted
@pytest.mark.slow
def test_an_alias_moves_within_100_ms_among_many_collections(mount: Mount, repository: Repository) -> None:
    name = make_many(repository, 1000)[7]
    commit_files(repository, name, {b"a": b"2"})
    path = Path(mount().mountpoint) / name / "best"
    seconds = []
    for number in (0, 1) * 5:
        set_alias(repository, number, "best", name)
        start = time.monotonic()
        wait_until(lambda wanted=f"v{number}": os.path.lexists(path) and path.readlink() == Path(wanted))
        seconds.append(time.monotonic() - start)
        time.sleep(0.3)
    assert min(seconds[2:]) < 0.1, seconds


def make_many(repository: Repository, count: int = MANY) -> list[str]:
    names = [f"set{number:04d}" for number in range(count)]
    first = commit_files(repository, names[0], {b"a": b"1"})
    for name in names[1:]:
        repository.append(name, lambda state: changes.commit(state, root=first.root, type="dataset"))
    return names
