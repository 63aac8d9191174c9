"""A crash, or a full disk, at every step of adding parts and finishing: doing it again gives the version, once."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from artifactfs.blobstore.local import LocalStore
from artifactfs.errors import StorageFullError
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.format import open_format
from artifactfs.repository.repository import Repository
from artifactfs.testing.forgetful import CountingScratch, CrashError, ForgetfulDisk
from artifactfs.testing.repositories import Content
from tests.repository.drafts.support import add, finish_it, read_version
from tests.repository.prune.support import StoppedClock, prune

ONE: dict[bytes, Content] = {b"a": b"alpha", b"dir": {b"b": b"beta"}}
TWO: dict[bytes, Content] = {b"dir": {b"c": b"gamma" * 400}}
BOTH = {b"a": b"alpha", b"dir/b": b"beta", b"dir/c": b"gamma" * 400}


def open_on(disk: ForgetfulDisk, *, packed_below: int) -> Repository:
    disk.make_directory("/r")
    disk.sync_directory("")
    store = LocalStore("/r", disk=disk, scratch=CountingScratch(disk, "/r/tmp"))
    return Repository(
        store,
        repository_format=open_format(store, create=True, now_ns=1, random=os.urandom),
        location="/r",
        state_directory="/dev/null",
        author="tester",
        clock=StoppedClock(),
        random=os.urandom,
        index=None,
        packed_below=packed_below,
    )


def work(repository: Repository) -> None:
    add(repository, ONE, run="one")
    add(repository, TWO, run="two")
    finish_it(repository, message="both")


def check(repository: Repository) -> None:
    """Whatever is there is whole; doing all of it again gives the version, which is there once."""
    prune(repository)  # takes nothing that is needed
    state = repository.log.load("animals")
    draft = Drafts(repository).find("animals", "epoch")
    if state.versions:
        assert draft is not None
        assert draft.closed is not None
    if draft is None or draft.status == "open":
        add(repository, ONE, run="one")
        add(repository, TWO, run="two")
    version = finish_it(repository, message="both").version
    assert (version.name, version.message) == ("v0", "both")
    assert len(repository.log.load("animals").versions) == 1
    assert read_version(repository, version) == BOTH
    prune(repository)
    assert read_version(repository, version) == BOTH


@pytest.mark.parametrize("packed_below", [0, 1 << 20], ids=["loose", "packs"])
@pytest.mark.parametrize("keeps_names", [False, True], ids=["forgets names", "keeps names without bytes"])
def test_a_crash_at_any_step(packed_below: int, *, keeps_names: bool) -> None:
    _try_everywhere(lambda disk: disk.after_crash(keeps_names=keeps_names), packed_below)


def _try_everywhere(crash: Callable[[ForgetfulDisk], ForgetfulDisk], packed_below: int) -> None:
    step = 0
    while True:
        disk = ForgetfulDisk()
        repository = open_on(disk, packed_below=packed_below)
        disk.crash_at = disk.steps + step
        try:
            work(repository)
        except CrashError:
            check(open_on(crash(disk), packed_below=packed_below))
            step += 1
        else:
            break
    assert step > 40


def test_a_full_disk_at_any_point() -> None:
    refused = 0
    while True:
        disk = ForgetfulDisk()
        repository = open_on(disk, packed_below=1 << 20)
        disk.room = 100 * refused
        try:
            work(repository)
        except StorageFullError:
            disk.room = None
            check(repository)
            refused += 1
        else:
            break
    assert refused > 20
