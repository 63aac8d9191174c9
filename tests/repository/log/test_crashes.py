"""Power is lost at every step of put, alias, rm and stage's pin: the old state or the new one is left, whole."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.blobstore.local import LocalStore
from artifactfs.clock import SystemClock
from artifactfs.errors import IntegrityError, StorageFullError
from artifactfs.model import FileEntry
from artifactfs.repository import changes
from artifactfs.repository.check import check_repository
from artifactfs.repository.expire import Retention, judge, remove
from artifactfs.repository.format import open_format
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.forgetful import CountingScratch, CrashError, ForgetfulDisk
from artifactfs.testing.repositories import commit_files

OLD = {b"z": b"zeta"}
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


def source(folder: Path) -> Path:
    """Return a directory with small files, one that is an object of its own, and one that has sums."""
    found = folder / "source"
    if not found.exists():
        (found / "below").mkdir(parents=True)
        for number in range(3):
            (found / "below" / f"{number}").write_bytes(b"%d" % number)
        (found / "loose").write_bytes(b"l" * (1 << 20))
        (found / "large").write_bytes(b"L" * ((4 << 20) + 1))
    return found


def put(repository: Repository, folder: Path) -> None:
    put_paths(repository, "animals", [Source(os.fsencode(folder), b"")])


def commit_second(repository: Repository, _folder: Path) -> None:
    commit_files(repository, "animals", SECOND)


def commit_loose(repository: Repository, _folder: Path) -> None:
    repository.blobs.packed_below = 0
    commit_files(repository, "animals", SECOND)


def many_loose(repository: Repository, _folder: Path) -> None:
    repository.blobs.packed_below = 0
    commit_files(repository, "animals", {b"%d" % number: b"%d" % number for number in range(40)})


def set_alias(repository: Repository, _folder: Path) -> None:
    repository.append("animals", lambda state: changes.set_aliases(state, version=0, aliases=["best"]))


def delete(repository: Repository, _folder: Path) -> None:
    repository.append("animals", lambda state: changes.delete_version(state, number=0, force=True))


def delete_all(repository: Repository, _folder: Path) -> None:
    repository.append("animals", changes.delete_collection)


def expire(repository: Repository, _folder: Path) -> None:
    collection = repository.get_collection("animals")
    [judged] = [found for found in judge(collection, Retention(keep_last=1), now_ns=0) if found.is_removed]
    remove(repository, collection, judged)


def pin(repository: Repository, _folder: Path) -> None:
    repository.append("animals", lambda state: changes.pin(state, pin="p", version=0, purpose="test"))


Action = Callable[[Repository, Path], None]
ACTIONS: list[Action] = [put, commit_second, commit_loose, many_loose, set_alias, delete, delete_all, expire, pin]


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
    for content in (OLD, FIRST):
        commit_files(open_on(disk), "animals", content)
    return disk.after_crash(keeps_names=False)


@pytest.mark.parametrize("keeps_names", [False, True], ids=["forgets names", "keeps names without bytes"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_crash_at_any_step_leaves_old_or_new(action: Action, tmp_path: Path, *, keeps_names: bool) -> None:
    whole = prepared()
    repository = open_on(whole)
    old = snapshot(repository)
    action(repository, source(tmp_path))
    new = snapshot(repository)
    survived = snapshot(open_on(whole.after_crash(keeps_names=False)))
    assert survived == new, "what was reported as done is durable"
    step, seen = 0, []
    while True:
        disk = prepared()
        repository = open_on(disk)
        disk.crash_at = disk.steps + step
        try:
            action(repository, source(tmp_path))
        except CrashError:
            pass
        else:
            break
        after = disk.after_crash(keeps_names=keeps_names)
        found = snapshot(open_on(after))
        assert found in (old, new), f"after a crash at step {step}"
        seen.append(found == new)
        if found == old:
            action(open_on(after), source(tmp_path))
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


@pytest.mark.parametrize("fails_once", [True, False], ids=["once", "from then on"])
@pytest.mark.parametrize("action", ACTIONS)
def test_no_room_at_any_step_leaves_old_or_new(action: Action, tmp_path: Path, *, fails_once: bool) -> None:
    """What was refused is as it was; it can be done when there is room again, and leaves no temporary files."""
    repository = open_on(prepared())
    old = snapshot(repository)
    action(repository, source(tmp_path))
    new = snapshot(repository)
    failed = 0
    for step in itertools.count():
        disk = prepared()
        repository = open_on(disk)
        begun = disk.steps
        disk.full_at, disk.fails_once = begun + step, fails_once
        try:
            action(repository, source(tmp_path))
        except StorageFullError:
            failed += 1
            disk.full_at = None
            found = snapshot(repository)
            assert found in (old, new), f"no room at step {step}"
            assert not [path for path in disk.paths() if path.startswith("/r/tmp/")], f"no room at step {step}"
            assert check_repository(repository, share=1).damage == ()
            if found == old:
                action(repository, source(tmp_path))
            after = snapshot(open_on(disk.after_crash(keeps_names=False)))
            # A record of which nobody could say whether it is durable may be lost.
            assert read_all_of(after) == read_all_of(new) or (found == new and after == old)
        else:
            assert snapshot(repository) == new, f"no room at step {step}"
            if disk.steps <= begun + step:
                break
    assert failed > 3


def test_a_full_disk_at_any_write_loses_nothing() -> None:
    room, failed = 0, 0
    while True:
        disk = prepared()
        repository = open_on(disk)
        old = snapshot(repository)
        disk.room = room
        try:
            commit_loose(repository, Path())
        except StorageFullError:
            failed += 1
            assert snapshot(repository) == old
            disk.room = None
            commit_loose(repository, Path())
            assert "animals:v2" in read_all(repository)
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
    whole = read_all(open_on(disk))["animals:v1"]
    for path in disk.paths():
        if path.startswith(("/r/packs/", "/r/treepacks/")):
            data = bytearray(disk.read_file(path))
            data[-1] ^= 1
            disk.damage(path, bytes(data))
    with pytest.raises(IntegrityError):
        read_all(open_on(disk))
    for content in (OLD, FIRST):
        commit_files(open_on(disk), "animals", content)
    after = open_on(disk.after_crash(keeps_names=False))
    assert read_all(after)["animals:v1"] == read_all(after)["animals:v3"] == whole
