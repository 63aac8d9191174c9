"""Quotas of staging directories: measured, kept by the union, refused by a commit."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.errors import StorageFullError
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import OVERLAY, write_driver
from artifactfs.staging.quota import find_enforcer, measure
from artifactfs.testing.repositories import commit_files, make_repository
from artifactfs.vfs.union.making import Caller
from artifactfs.vfs.union.union import Union
from tests.staging.union_support import serve

ME = Caller(os.getpid(), os.getuid(), os.getgid())
KIB = 1024
QUOTA = 256 * KIB


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path) as repository:
        yield repository


@pytest.fixture
def staging(repository: Repository) -> Staging:
    version = commit_files(repository, "animals", {b"old": b"o" * 100 * KIB, b"large": b"l" * 300 * KIB})
    return StagingArea(repository).create("animals", version=version, quota=QUOTA)


@pytest.fixture
def union(repository: Repository, staging: Staging) -> Iterator[Union]:
    with serve(repository, staging) as union:
        yield union


def fill(union: Union, path: bytes, size: int) -> int:
    """Write until it is refused, and return how much was written."""
    handle = union.create(path, 0o644, os.O_WRONLY, ME)
    written = 0
    try:
        while written < size:
            written += union.write(handle, b"x" * min(16 * KIB, size - written), offset=written)
    except OSError as error:
        if error.errno != errno.EDQUOT:
            raise
    finally:
        union.release(handle)
    return written


def test_writing_stops_at_the_quota(union: Union, staging: Staging) -> None:
    assert fill(union, b"new", 10 * QUOTA) == QUOTA
    assert measure(staging.upper) == QUOTA
    assert fill(union, b"more", 1) == 0


def test_what_is_removed_makes_room(union: Union) -> None:
    fill(union, b"new", QUOTA)
    union.truncate(b"new", 64 * KIB)
    assert fill(union, b"second", QUOTA) == 192 * KIB
    union.unlink(b"new")
    assert fill(union, b"third", QUOTA) == 64 * KIB
    union.rename(b"second", b"third")
    assert fill(union, b"fourth", QUOTA) == 64 * KIB


def test_writing_over_what_is_there_takes_no_room(union: Union) -> None:
    fill(union, b"new", QUOTA)
    handle = union.open(b"new", os.O_WRONLY, ME)
    assert union.write(handle, b"y" * 100, offset=0) == 100
    union.release(handle)


def test_a_copy_of_a_file_of_the_version_counts(union: Union, staging: Staging) -> None:
    union.chmod(b"old", 0o600)
    assert measure(staging.upper) == 100 * KIB
    with pytest.raises(OSError, match="quota") as caught:
        union.chmod(b"large", 0o600)
    assert caught.value.errno == errno.EDQUOT
    assert fill(union, b"new", QUOTA) == 156 * KIB
    # What is cut to nothing is not copied.
    union.release(union.open(b"large", os.O_WRONLY | os.O_TRUNC, ME))


def test_an_open_file_that_was_removed_makes_room_when_it_is_closed(union: Union) -> None:
    handle = union.create(b"new", 0o644, os.O_WRONLY, ME)
    for index in range(16):
        union.write(handle, b"x" * 16 * KIB, offset=index * 16 * KIB)
    union.unlink(b"new")
    union.release(handle)
    assert fill(union, b"second", QUOTA) == QUOTA


def test_it_is_measured_anew_when_it_is_served_again(repository: Repository, staging: Staging) -> None:
    with serve(repository, staging) as union:
        fill(union, b"new", 200 * KIB)
    with serve(repository, staging) as union:
        assert fill(union, b"more", QUOTA) == 56 * KIB


def test_a_commit_refuses_what_is_above(repository: Repository, staging: Staging) -> None:
    write_driver(staging.layout, OVERLAY)
    path = Path(os.fsdecode(staging.upper), "new")
    path.write_bytes(b"x" * (QUOTA + 1))
    os.link(path, path.with_name("linked"))
    area = StagingArea(repository)
    assert find_enforcer(staging.layout, staging.info) == "commit"
    with pytest.raises(StorageFullError, match="4096 more than its quota of 262144"):
        area.commit(staging)
    assert list(repository.load_state("animals").versions) == [0]
    os.truncate(path, QUOTA)
    assert area.commit(staging).result.version.number == 1


def test_without_a_quota_nothing_is_measured(repository: Repository) -> None:
    staging = StagingArea(repository).create("plants", version=None)
    with serve(repository, staging) as union:
        assert fill(union, b"new", 2 * QUOTA) == 2 * QUOTA
