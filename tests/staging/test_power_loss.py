"""Power is lost at every step that the commit of a staging directory makes in the repository.

The staging directory is on a real disk and stays. (What it loses by itself is in `test_staging_crash.py`.)
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from artifactfs.blobstore import local
from artifactfs.blobstore.local import LocalStore
from artifactfs.repository.check import check_repository
from artifactfs.repository.exclusion import LockExclusion
from artifactfs.repository.format import open_format
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import StagingArea
from artifactfs.testing.forgetful import CountingScratch, CrashError, ForgetfulDisk
from artifactfs.testing.repositories import commit_files
from artifactfs.vfs.union.union import Caller
from tests.repository.prune.support import StoppedClock, read_all
from tests.staging.union_support import FILES, serve

ME = Caller(os.getpid(), os.geteuid(), os.getegid())
LIMIT = 300
NEW = {b"new": b"new", b"large": b"large" * 1000}


def open_on(disk: ForgetfulDisk, folder: Path, packed_below: int) -> Repository:
    disk.make_directory("/r")
    disk.sync_directory("")
    store = LocalStore("/r", disk=disk, scratch=CountingScratch(disk, "/r/tmp"))
    clock = StoppedClock()
    repository = Repository(
        store,
        repository_format=open_format(store, create=True, now_ns=1, random=os.urandom),
        location="/r",
        state_directory=str(folder / "state"),
        author="tester",
        clock=clock,
        random=os.urandom,
        index=None,
        packed_below=packed_below,
    )
    repository.exclusion = LockExclusion(str(folder / "lock"), clock=clock)
    return repository


def begin(disk: ForgetfulDisk, folder: Path, packed_below: int) -> Repository:
    """Return a repository with a version over which a staging directory has a changed, a removed and two new files."""
    folder.mkdir()
    repository = open_on(disk, folder, packed_below)
    staging = StagingArea(repository).create("animals", version=commit_files(repository, "animals", FILES))
    with serve(repository, staging) as union:
        union.unlink(b"empty")
        for name, data in {**NEW, b"a.txt": b"changed"}.items():
            handle = union.create(name, 0o644, os.O_WRONLY, ME) if name in NEW else union.open(name, os.O_WRONLY, ME)
            union.write(handle, data, offset=0)
            union.release(handle)
    return repository


def read_version(repository: Repository, number: int) -> dict[bytes, bytes]:
    return read_all(repository)[f"animals:v{number}"]


@pytest.mark.parametrize("few", [0, local.FEW_OBJECTS], ids=["syncfs", "fsync"])
@pytest.mark.parametrize("packed_below", [0, 1 << 20], ids=["loose", "packs"])
@pytest.mark.parametrize("keeps_names", [False, True], ids=["forgets names", "keeps names without bytes"])
def test_a_commit_that_loses_power_is_there_as_a_whole_or_not_and_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, keeps_names: bool, packed_below: int, few: int
) -> None:
    monkeypatch.setattr(local, "FEW_OBJECTS", few)
    versions = set()
    for step in range(LIMIT):
        disk, folder = ForgetfulDisk(), tmp_path / str(step)
        repository = begin(disk, folder, packed_below)
        base = read_version(repository, 0)
        whole = {path: data for path, data in {**base, **NEW, b"a.txt": b"changed"}.items() if path != b"empty"}
        disk.crash_at = disk.steps + step
        finished = False
        try:
            StagingArea(repository).commit(StagingArea(repository).get("animals"))
            finished = True
        except CrashError:
            pass
        again = open_on(disk.after_crash(keeps_names=keeps_names), folder, packed_below)
        number = len(again.load_state("animals").versions) - 1
        versions.add(number)
        assert number == 1 or not finished, f"step {step}: it was said to be there"
        assert read_version(again, 0) == base, f"step {step}"
        assert number == 0 or read_version(again, 1) == whole, f"step {step}"
        assert not check_repository(again, share=1.0).damage, f"step {step}"
        made = StagingArea(again).commit(StagingArea(again).get("animals")).result.version
        assert read_version(again, made.number) == whole, f"step {step}"
        if finished:
            assert step > 5
            assert versions == {0, 1}
            return
    pytest.fail("never finished")
