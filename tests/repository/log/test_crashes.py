"""Power is lost at every step of put, alias, rm and stage's pin: the old state or the new one is left, whole."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from artifactfs.blobstore.local import LocalStore
from artifactfs.clock import SystemClock
from artifactfs.errors import IntegrityError, StorageFullError
from artifactfs.model import FileEntry
from artifactfs.repository import changes
from artifactfs.repository.format import open_format
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.forgetful import CountingScratch, CrashError, ForgetfulDisk
from artifactfs.testing.repositories import commit_files

FIRST = {b"a": b"alpha", b"dir": {b"b": b"beta" * 1000}}
SECOND = {**FIRST, b"c": b"gamma", b"other": {b"d": b"delta", b"a": b"alpha"}}


def open_on(disk: ForgetfulDisk) -> Repository:
    disk.make_directory("/r")
    disk.sync_directory("")  # as `open_repository` does for the directory that it makes
    store = LocalStore("/r", disk=disk, scratch=CountingScratch(disk, "/r/tmp"))
    found = open_format(store, create=True, now_ns=1, random=os.urandom)
    return Repository(
        store,
        repository_format=found,
        location="/r",
        state_directory="/dev/null",
        author="tester",
        clock=SystemClock(),
        random=os.urandom,
        index=None,
    )


def commit_second(repository: Repository) -> None:
    commit_files(repository, "animals", SECOND)


def many_small(repository: Repository) -> None:
    commit_files(repository, "animals", {b"%d" % number: b"%d" % number for number in range(40)})


def set_alias(repository: Repository) -> None:
    repository.append("animals", lambda state: changes.set_aliases(state, version=0, aliases=["best"]))


def delete(repository: Repository) -> None:
    repository.append("animals", lambda state: changes.delete_version(state, number=0, force=True))


def pin(repository: Repository) -> None:
    repository.append("animals", lambda state: changes.pin(state, pin="p", version=0, purpose="test"))


ACTIONS: list[Callable[[Repository], None]] = [commit_second, many_small, set_alias, delete, pin]


def read_all(repository: Repository) -> dict[str, dict[bytes, bytes]]:
    """Return every file of every version, read through verification."""
    found: dict[str, dict[bytes, bytes]] = {}
    trees = Trees(repository.blobs)
    for name in repository.collection_names():
        for version in repository.get_collection(name).versions.values():
            found[f"{name}:{version.name}"] = {
                path: repository.open_file(entry).read_at(0, 1 << 20)
                for path, entry in trees.iter_tree(version.root)
                if isinstance(entry, FileEntry)
            }
    return found


def snapshot(repository: Repository) -> object:
    """Return what a reader sees: states without times and digests of records, and all bytes."""
    states = [repository.load_state(name) for name in repository.collection_names()]
    return [(state.seq, state.aliases, sorted(state.versions), list(state.pins)) for state in states], read_all(
        repository
    )


def prepared() -> ForgetfulDisk:
    disk = ForgetfulDisk()
    commit_files(open_on(disk), "animals", FIRST)
    return disk.after_crash(keeps_names=False)


@pytest.mark.parametrize("keeps_names", [False, True], ids=["forgets names", "keeps names without bytes"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_crash_at_any_step_leaves_old_or_new(action: Callable[[Repository], None], *, keeps_names: bool) -> None:
    whole = prepared()
    repository = open_on(whole)
    old = snapshot(repository)
    action(repository)
    new = snapshot(repository)
    survived = snapshot(open_on(whole.after_crash(keeps_names=False)))
    assert survived == new, "what was reported as done is durable"
    step, seen = 0, []
    while True:
        disk = prepared()
        repository = open_on(disk)
        disk.crash_at = disk.steps + step
        try:
            action(repository)
        except CrashError:
            pass
        else:
            break
        after = disk.after_crash(keeps_names=keeps_names)
        found = snapshot(open_on(after))
        assert found in (old, new), f"after a crash at step {step}"
        seen.append(found == new)
        if found == old:
            action(open_on(after))
            assert read_all(open_on(after)) == read_all_of(new), f"done again after a crash at step {step}"
        step += 1
    assert step > 4, "it did something"
    assert not seen[0]


def read_all_of(taken: object) -> object:
    assert isinstance(taken, tuple)
    return taken[1]


@pytest.mark.parametrize("keeps_names", [False, True])
def test_a_crash_while_a_repository_is_made(*, keeps_names: bool) -> None:
    for step in range(40):
        disk = ForgetfulDisk(crash_at=step)
        try:
            open_on(disk)
        except CrashError:
            commit_files(open_on(disk.after_crash(keeps_names=keeps_names)), "animals", FIRST)
        else:
            return
    pytest.fail("it never came to an end")


def test_a_full_disk_at_any_write_loses_nothing() -> None:
    room, failed = 0, 0
    while True:
        disk = prepared()
        repository = open_on(disk)
        old = snapshot(repository)
        disk.room = room
        try:
            commit_second(repository)
        except StorageFullError:
            failed += 1
            assert snapshot(repository) == old
            disk.room = None
            commit_second(repository)
            assert "animals:v1" in read_all(repository)
        else:
            break
        room += 97
    assert failed > 5


def test_a_name_without_its_bytes_would_be_seen() -> None:
    """The disk that the tests above trust does forget."""
    disk = ForgetfulDisk()
    disk.make_directory("/d")
    disk.create_file("/d/a", [b"bytes"])
    assert disk.after_crash(keeps_names=False).paths() == []
    assert disk.after_crash(keeps_names=True).read_file("/d/a") == b""
    disk.sync_file("/d/a")
    assert disk.after_crash(keeps_names=False).paths() == []
    disk.sync_directory("/d")
    disk.sync_directory("")
    assert disk.after_crash(keeps_names=False).read_file("/d/a") == b"bytes"


def test_storing_the_same_bytes_again_mends_what_is_damaged() -> None:
    disk = prepared()
    whole = read_all(open_on(disk))["animals:v0"]
    for path in disk.paths():
        if path.startswith(("/r/packs/", "/r/treepacks/")):
            data = bytearray(disk.read_file(path))
            data[-1] ^= 1
            disk.damage(path, bytes(data))
    with pytest.raises(IntegrityError):
        read_all(open_on(disk))
    commit_files(open_on(disk), "animals", FIRST)
    after = open_on(disk.after_crash(keeps_names=False))
    assert read_all(after) == {"animals:v0": whole, "animals:v1": whole}
