"""Power is lost, or the disk is full, at every step of a prune: nothing that a version reaches is ever gone.

Crashes while packs are written again are in `test_repack.py`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import TREES_PREFIX, blob_key
from artifactfs.blobstore.local import LocalStore
from artifactfs.digest import Digest
from artifactfs.errors import StorageFullError
from artifactfs.model import FileEntry
from artifactfs.repository.check import check_repository
from artifactfs.repository.condemning import ListExclusion
from artifactfs.repository.exclusion import LockExclusion
from artifactfs.repository.format import open_format
from artifactfs.repository.prune import find_garbage
from artifactfs.repository.repack import repack
from artifactfs.repository.repository import Repository
from artifactfs.repository.usage import MERGE_FROM, choose_packs
from artifactfs.testing.forgetful import CountingScratch, CrashError, ForgetfulDisk
from artifactfs.testing.repositories import commit_files
from tests.repository.prune.support import StoppedClock, delete_version, prune, read_all

KEPT = {b"a": b"alpha", b"dir": {b"b": b"beta" * 1000}}
GONE = {**KEPT, b"c": b"gamma", b"other": {b"deep": {b"d": b"delta", b"a": b"alpha"}}}
MANY = {b"%d" % number: b"%d" % number for number in range(40)}

Open = Callable[[ForgetfulDisk], Repository]


@pytest.fixture(params=["lock", "list", "lock, packs"])
def open_on(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return what opens a repository on a disk, whose prunes are kept apart by a lock or by lists."""
    return lambda disk: open_repository_on(disk, request.param, tmp_path)


def open_repository_on(disk: ForgetfulDisk, kind: str, folder: Path) -> Repository:
    clock = StoppedClock()
    disk.make_directory("/r")
    disk.sync_directory("")
    store = LocalStore("/r", disk=disk, scratch=CountingScratch(disk, "/r/tmp"))
    found = open_format(store, create=True, now_ns=1, random=os.urandom)
    repository = Repository(
        store,
        repository_format=found,
        location="/r",
        state_directory="/dev/null",
        author="tester",
        clock=clock,
        random=os.urandom,
        index=None,
        packed_below=1 << 20 if "packs" in kind else 0,
    )
    assert isinstance(repository.exclusion, ListExclusion)
    repository.exclusion.timing = replace(repository.exclusion.timing, grace_seconds=0)
    if "lock" in kind:
        repository.exclusion = LockExclusion(str(folder / "lock"), clock=clock)
    return repository


def prepared(open_on: Open) -> ForgetfulDisk:
    disk = ForgetfulDisk()
    repository = open_on(disk)
    commit_files(repository, "animals", KEPT)
    for content in (GONE, MANY):
        delete_version(repository, commit_files(repository, "animals", content).number)
    return disk.after_crash(keeps_names=False)


def trees_without_files(repository: Repository) -> list[str]:
    """Return the trees in the store of which a file is missing."""
    found = []
    for key in repository.store.iter_keys(TREES_PREFIX):
        items = repository.blobs.read_tree(Digest(bytes.fromhex(key[-64:]))).page.items
        blobs = [blob_key(item.sha256) for item in items if isinstance(item, FileEntry)]
        found += [key for blob in blobs if repository.store.find_size(blob) is None]
    return found


@pytest.mark.parametrize("keeps_names", [False, True], ids=["forgets names", "keeps names without bytes"])
def test_a_crash_at_any_step_takes_nothing_that_is_reached(open_on: Open, *, keeps_names: bool) -> None:
    whole = read_all(open_on(prepared(open_on)))
    step = 0
    while True:
        disk = prepared(open_on)
        repository = open_on(disk)
        disk.crash_at = disk.steps + step
        try:
            prune(repository)
        except CrashError:
            pass
        else:
            break
        again = open_on(disk.after_crash(keeps_names=keeps_names))
        assert read_all(again) == whole, f"after a crash at step {step}"
        assert trees_without_files(again) == [], f"after a crash at step {step}"
        commit_files(again, "animals", GONE)
        assert len(read_all(again)["animals:v3"]) == 5, f"committed again after a crash at step {step}"
        delete_version(again, 3)
        prune(again)
        assert read_all(again) == whole
        assert find_garbage(again).total.count == 0
        step += 1
    assert step > 5


def test_what_was_pruned_stays_so(open_on: Open) -> None:
    disk = prepared(open_on)
    deleted = prune(open_on(disk))
    assert deleted.count > 3
    assert find_garbage(open_on(disk.after_crash(keeps_names=False))).total.count == 0


@pytest.fixture
def open_packed(tmp_path: Path) -> Open:
    """Return what opens a repository with packs on a disk, whose prunes are kept apart by a lock."""
    return lambda disk: open_repository_on(disk, "lock, packs", tmp_path)


def scattered(open_on: Open) -> ForgetfulDisk:
    """Return a disk with small packs, and one of which little is reached: a prune repacks all of them."""
    disk = ForgetfulDisk()
    repository = open_on(disk)
    commit_files(repository, "animals", {**KEPT, b"large": bytes(9000)})
    commit_files(repository, "animals", KEPT)
    delete_version(repository, 0)
    for number in range(MERGE_FROM):
        commit_files(repository, "plants", {**KEPT, b"own": b"%d" % number})
    return disk.after_crash(keeps_names=False)


def repack_and_prune(repository: Repository) -> None:
    garbage = find_garbage(repository)
    repacking = choose_packs(repository.store, garbage.usage)
    if repacking.packs:
        repack(repository, repacking, garbage.roots)
    prune(repository)


def find_dead(repository: Repository) -> tuple[int, int]:
    """Return how much a prune would still delete, and how many packs it would write again."""
    garbage = find_garbage(repository)
    return garbage.total.count, len(choose_packs(repository.store, garbage.usage).packs)


@pytest.mark.slow
@pytest.mark.parametrize("fails_once", [True, False], ids=["once", "from then on"])
def test_no_room_at_any_step_of_repacking_loses_nothing(open_packed: Open, *, fails_once: bool) -> None:
    start, failed = scattered(open_packed), 0
    assert find_dead(open_packed(start))[1] > MERGE_FROM
    for step in itertools.count():
        disk = start.after_crash(keeps_names=False)
        repository = open_packed(disk)
        whole = read_all(repository)
        begun = disk.steps
        disk.full_at, disk.fails_once = begun + step, fails_once
        with suppress(StorageFullError):
            repack_and_prune(repository)
            if disk.steps <= begun + step:
                break
        failed += 1
        disk.full_at = None
        assert read_all(repository) == whole, f"no room at step {step}"
        repack_and_prune(repository)
        assert find_dead(repository) == (0, 0), f"no room at step {step}"
        after = open_packed(disk.after_crash(keeps_names=False))
        assert read_all(after) == whole
        assert check_repository(after, share=1).damage == ()
    assert failed > 20


def test_what_was_removed_stays_so_before_its_content_goes(open_packed: Open) -> None:
    """Also where the record could be read and was not durable: its writer met a full disk, or was killed."""
    start, lost = ForgetfulDisk(), 0
    for content in (GONE, KEPT):
        commit_files(open_packed(start), "animals", content)
    for step in range(20):
        disk = start.after_crash(keeps_names=False)
        repository = open_packed(disk)
        disk.full_at = disk.steps + step
        with suppress(StorageFullError):
            delete_version(repository, 0)
        lost += 0 in open_packed(disk.after_crash(keeps_names=False)).get_collection("animals").versions
        disk.full_at = None
        prune(repository)
        after = open_packed(disk.after_crash(keeps_names=False))
        assert check_repository(after, share=1).damage == (), f"no room at step {step}"
    assert lost > 3


def test_a_full_disk_can_be_pruned(open_on: Open) -> None:
    """Under a lock nothing is written; on a store without locks there is room for lists, or nothing is deleted."""
    room, failed = 0, 0
    while True:
        disk = prepared(open_on)
        repository = open_on(disk)
        whole = read_all(repository)
        disk.room = room
        try:
            prune(repository)
        except StorageFullError:
            failed += 1
            disk.room = None
            assert read_all(repository) == whole
            prune(repository)
        assert read_all(repository) == whole
        assert find_garbage(repository).total.count == 0
        if disk.room is not None:
            break
        room += 700
    assert (failed > 3) == isinstance(repository.exclusion, ListExclusion)
