"""Quotas of staging directories: measured, kept by the union, refused by a commit."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from artifactfs.errors import StorageFullError
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import OVERLAY, write_driver
from artifactfs.staging.quota import find_enforcer, measure
from artifactfs.testing.repositories import commit_files, make_repository
from artifactfs.vfs.union import room
from artifactfs.vfs.union.making import Caller
from artifactfs.vfs.union.union import Union
from tests.staging.union_support import outcome, serve

ME = Caller(os.getpid(), os.getuid(), os.getgid())
KIB = 1024
QUOTA = 512 * KIB
BLOCK = 4 * KIB
FALLOC_FL_KEEP_SIZE = 1
NAME = room.NAME_BLOCKS * BLOCK
"""So much room a new name asks for."""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path) as repository:
        yield repository


@pytest.fixture
def staging(repository: Repository) -> Staging:
    version = commit_files(
        repository, "animals", {b"old": b"o" * 100 * KIB, b"large": b"l" * 600 * KIB, b"deep": {b"er": {b"x": b"x"}}}
    )
    return StagingArea(repository).create("animals", version=version, quota=QUOTA)


@pytest.fixture
def union(repository: Repository, staging: Staging) -> Iterator[Union]:
    with serve(repository, staging) as union:
        yield union


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that grows whenever the union walks its upper directory."""
    found: list[bytes] = []

    def walk(upper: bytes) -> int:
        found.append(upper)
        return measure(upper)

    monkeypatch.setattr(room, "measure", walk)
    return found


def fill(union: Union, path: bytes, size: int, *, step: int = 16 * KIB) -> int:
    """Write until it is refused, and return how much was written."""
    handle = union.create(path, 0o644, os.O_WRONLY, ME)
    written = 0
    try:
        while written < size:
            written += union.write(handle, b"x" * min(step, size - written), offset=written)
    except OSError as error:
        if error.errno != errno.EDQUOT:
            raise
    finally:
        union.release(handle)
    return written


def count_until_refused(action: Callable[[bytes], object]) -> int:
    """Do something under ever new names, and return how often it was done before EDQUOT."""
    for number in range(100_000):
        found = outcome(lambda number=number: action(b"%05d-%s" % (number, b"n" * 200)))
        if found is not None:
            assert found == errno.EDQUOT
            return number
    return pytest.fail("it was never refused")


def test_writing_stops_at_the_quota(union: Union, staging: Staging) -> None:
    before = measure(staging.upper)
    assert fill(union, b"new", 10 * QUOTA) == QUOTA - before
    assert measure(staging.upper) == QUOTA
    assert outcome(lambda: fill(union, b"more", 1)) == errno.EDQUOT


def test_small_files_count_as_blocks(union: Union, staging: Staging) -> None:
    assert count_until_refused(lambda name: fill(union, name, 1)) <= QUOTA // BLOCK
    assert QUOTA - NAME - 2 * BLOCK < measure(staging.upper) <= QUOTA


@pytest.mark.parametrize("kind", ["empty files", "directories", "links", "long links", "second names", "copies"])
def test_names_count(union: Union, staging: Staging, kind: str) -> None:
    union.release(union.create(b"first", 0o644, os.O_WRONLY, ME))
    actions: dict[str, Callable[[bytes], object]] = {
        "empty files": lambda name: union.release(union.create(name, 0o644, os.O_WRONLY, ME)),
        "directories": lambda name: union.make_directory(name, 0o755, ME),
        "links": lambda name: union.make_symlink(name, b"t", ME),
        "long links": lambda name: union.make_symlink(name, b"t" * 1000, ME),
        "second names": lambda name: union.link(b"first", name),
        "copies": lambda name: (union.chmod(b"deep/er/x", 0o600), union.rename(b"deep/er/x", name)),
    }
    if kind == "copies":
        assert outcome(lambda: actions[kind](b"copy")) is None
        assert union.getattr(b"copy").size == 1
    else:
        count = count_until_refused(actions[kind])
        assert count <= QUOTA // BLOCK if kind in {"directories", "long links"} else count > 1000
        assert QUOTA - NAME - 2 * BLOCK < measure(staging.upper) <= QUOTA
    assert union._room.used == measure(staging.upper)


def test_removing_is_refused_only_where_it_takes_room(union: Union) -> None:
    fill(union, b"new", QUOTA)
    assert outcome(lambda: union.unlink(b"old")) == errno.EDQUOT  # a whiteout is a name
    union.unlink(b"new")
    union.unlink(b"old")


def test_what_is_removed_makes_room(union: Union, staging: Staging) -> None:
    whole = fill(union, b"new", QUOTA)
    union.truncate(b"new", 64 * KIB)
    assert fill(union, b"second", QUOTA) == whole - 64 * KIB
    union.unlink(b"new")
    assert fill(union, b"third", QUOTA) == 64 * KIB
    union.rename(b"second", b"third")
    assert fill(union, b"fourth", QUOTA) == 64 * KIB
    assert union._room.used == measure(staging.upper)


def test_nothing_is_walked_while_writing(union: Union, staging: Staging, walks: list[bytes]) -> None:
    """Not even near the quota, by programs that make room and use it again and again."""
    fill(union, b"new", QUOTA - measure(staging.upper) - NAME - 4 * BLOCK)
    walks.clear()
    for number in range(50):
        fill(union, b"a", 2 * BLOCK)
        handle = union.open(b"a", os.O_WRONLY | os.O_TRUNC, ME)
        assert union.write(handle, b"x" * 3 * BLOCK, offset=0) == 3 * BLOCK
        union.truncate(b"a", BLOCK, handle)
        if number % 2:
            union.unlink(b"a")  # while it is open
        union.release(handle)
        fill(union, b"b", BLOCK)
        union.rename(b"b", b"a")
        union.make_directory(b"d", 0o755, ME)
        union.rmdir(b"d")
        assert outcome(lambda: fill(union, b"c", QUOTA)) is None
        union.unlink(b"c")
        union.unlink(b"a")
    assert walks == []
    assert union._room.used == measure(staging.upper)


def test_whatever_is_done_the_sum_is_what_is_there(union: Union, staging: Staging) -> None:
    chosen = random.Random(5)
    names = [b"a", b"b", b"deep/c", b"deep/er/d", b"deep/er/x", b"old", b"large", b"n" * 255]
    directories = [b"deep", b"deep/er", b"deep/new", b"other"]
    handles: list[int] = []

    def write() -> None:
        handles.append(union.open(chosen.choice(names), os.O_WRONLY, ME))
        union.write(handles[-1], b"x" * chosen.randrange(20 * KIB), offset=chosen.randrange(50 * KIB))

    def truncate() -> None:
        union.truncate(chosen.choice(names), chosen.randrange(200 * KIB))

    def release() -> None:
        union.release(handles.pop(chosen.randrange(len(handles))) if handles else 0)

    actions: list[Callable[[], object]] = [
        write,
        truncate,
        release,
        lambda: union.release(union.create(chosen.choice(names), 0o644, os.O_WRONLY, ME)),
        lambda: union.unlink(chosen.choice(names)),
        lambda: union.rename(chosen.choice(names), chosen.choice(names)),
        lambda: union.link(chosen.choice(names), chosen.choice(names)),
        lambda: union.chmod(chosen.choice(names), 0o600),
        lambda: union.make_symlink(chosen.choice(names), b"t" * chosen.choice([3, 100]), ME),
        lambda: union.make_directory(chosen.choice(directories), 0o755, ME),
        lambda: union.rename(chosen.choice(directories), chosen.choice(directories)),
        lambda: union.rmdir(chosen.choice(directories)),
        lambda: union.set_xattr(chosen.choice(names), b"user.a", b"x" * chosen.choice([10, 2000]), 0),
        lambda: union.remove_xattr(chosen.choice(names), b"user.a"),
    ]
    for _ in range(1500):
        outcome(chosen.choice(actions))
    for handle in handles:
        union.release(handle)
    assert union._room.used == measure(staging.upper) <= QUOTA


def test_many_threads_together_stay_below(union: Union, staging: Staging) -> None:
    before = measure(staging.upper)

    def work(seed: int, number: int) -> None:
        chosen = random.Random(f"{seed} {number}")
        for step in range(12):
            name = b"%d-%d" % (number, chosen.randrange(3))
            with suppress(OSError):
                handle = union.create(name, 0o644, os.O_WRONLY, ME)
                with suppress(OSError):
                    union.write(handle, b"x" * chosen.randrange(200 * KIB), offset=chosen.randrange(3) * 40 * KIB)
                if step % 2:
                    union.unlink(name)
                union.release(handle)

    for seed in range(10):
        threads = [threading.Thread(target=work, args=(seed, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert measure(staging.upper) <= union._room.used <= QUOTA
    for name in os.listdir(staging.upper):
        union.unlink(name)
    assert fill(union, b"last", QUOTA) == QUOTA - before


def test_what_is_allocated_ahead_does_not_count(staging: Staging) -> None:
    before = measure(staging.upper)
    with open(staging.upper + b"/ahead", "wb") as file:
        file.write(b"x" * 10)
        file.flush()
        if ctypes.CDLL(None).fallocate(file.fileno(), FALLOC_FL_KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(64 * KIB)):
            pytest.skip("the file system does not allocate ahead")
        assert os.fstat(file.fileno()).st_blocks * 512 == 64 * KIB
    assert measure(staging.upper) <= before + 2 * BLOCK


def test_writing_over_what_is_there_takes_no_room(union: Union) -> None:
    fill(union, b"new", QUOTA)
    handle = union.open(b"new", os.O_WRONLY, ME)
    assert union.write(handle, b"y" * 100, offset=0) == 100
    union.release(handle)


def test_a_part_is_written_where_a_part_has_room(union: Union, staging: Staging) -> None:
    size = QUOTA - measure(staging.upper) - BLOCK // 2
    assert fill(union, b"new", size) == size
    handle = union.open(b"new", os.O_WRONLY, ME)
    assert union.write(handle, b"y" * 5 * BLOCK, offset=size - BLOCK) == BLOCK + BLOCK // 2
    assert outcome(lambda: union.write(handle, b"y", offset=10 * QUOTA)) == errno.EDQUOT
    union.release(handle)


def test_a_copy_of_a_file_of_the_version_counts(union: Union, staging: Staging) -> None:
    before = measure(staging.upper)
    union.chmod(b"old", 0o600)
    assert measure(staging.upper) == before + 100 * KIB
    assert outcome(lambda: union.chmod(b"large", 0o600)) == errno.EDQUOT
    # What is cut to nothing is not copied.
    union.release(union.open(b"large", os.O_WRONLY | os.O_TRUNC, ME))
    assert fill(union, b"new", QUOTA) == QUOTA - before - 100 * KIB


def test_what_was_refused_leaves_nothing(union: Union, staging: Staging) -> None:
    fill(union, b"new", QUOTA)
    for action in (lambda: union.chmod(b"deep/er/x", 0o600), lambda: union.make_directory(b"deep/new", 0o755, ME)):
        assert outcome(action) == errno.EDQUOT
    assert os.listdir(staging.layout.work) == []
    assert os.listdir(staging.upper) == [b"new"]


def test_an_open_file_that_was_removed_makes_room_when_it_is_closed(union: Union, staging: Staging) -> None:
    whole = QUOTA - measure(staging.upper)
    handle = union.create(b"new", 0o644, os.O_WRONLY, ME)
    reading = union.open(b"new", os.O_RDONLY, ME)
    assert union.write(handle, b"x" * whole, offset=0) == whole
    union.unlink(b"new")
    union.release(handle)
    assert outcome(lambda: fill(union, b"second", 1)) == errno.EDQUOT
    union.release(reading)
    assert fill(union, b"second", QUOTA) == whole


def test_it_is_measured_anew_when_it_is_served_again(repository: Repository, staging: Staging) -> None:
    with serve(repository, staging) as union:
        fill(union, b"new", 200 * KIB)
    left = QUOTA - measure(staging.upper)
    with serve(repository, staging) as union:
        assert fill(union, b"more", QUOTA) == left


def test_another_quota_counts_what_is_there(repository: Repository) -> None:
    staging = StagingArea(repository).create("plants", version=None)
    with serve(repository, staging) as union:
        fill(union, b"new", QUOTA // 2)
        handle = union.create(b"open", 0o644, os.O_WRONLY, ME)
        union.write(handle, b"x" * 64 * KIB, offset=0)
        union.limit(QUOTA)
        assert union._room.used == measure(staging.upper)
        union.unlink(b"open")  # it was opened before
        assert union._room.used == measure(staging.upper) + 64 * KIB
        union.release(handle)
        assert fill(union, b"more", QUOTA) == QUOTA - measure(staging.upper) + os.stat(staging.upper + b"/more").st_size
        union.limit(QUOTA // 4)
        assert outcome(lambda: fill(union, b"third", 1)) == errno.EDQUOT
        union.limit(None)
        assert fill(union, b"third", 2 * QUOTA) == 2 * QUOTA


def test_a_commit_refuses_what_is_above(repository: Repository, staging: Staging) -> None:
    write_driver(staging.layout, OVERLAY)
    path = Path(os.fsdecode(staging.upper), "new")
    size = QUOTA - measure(staging.upper)
    path.write_bytes(b"x" * (size + 1))
    os.link(path, path.with_name("linked"))
    area = StagingArea(repository)
    assert find_enforcer(staging.layout, staging.info) == "commit"
    with pytest.raises(StorageFullError, match=f"4096 more than its quota of {QUOTA}"):
        area.commit(staging)
    assert list(repository.load_state("animals").versions) == [0]
    os.truncate(path, size)
    assert area.commit(staging).result.version.number == 1


def test_without_a_quota_nothing_is_measured(repository: Repository, walks: list[bytes]) -> None:
    staging = StagingArea(repository).create("plants", version=None)
    with serve(repository, staging) as union:
        assert fill(union, b"new", 2 * QUOTA) == 2 * QUOTA
    assert walks == []
