"""Threads in a union: nothing is lost, also when it is frozen and thawed all the time."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from artifactfs.errors import BusyError
from artifactfs.repository.lower import Lower
from artifactfs.repository.put import put_paths
from artifactfs.repository.repository import Repository
from artifactfs.repository.sources import Source
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.vfs.union.gate import Writer
from artifactfs.vfs.union.union import Caller, Union
from tests.staging.union_support import FILES, serve, write_plain

WORKERS = 6
STEPS = 60
FREEZES = 10


def work(union: Union, plain: bytes, top: bytes, me: Caller) -> None:
    """Do the same in a union and a plain directory, below a directory of the worker's own and in a common one."""
    choice = random.Random(top)
    union.make_directory(top, 0o755, me)
    os.mkdir(plain + b"/" + top)
    for step in range(STEPS):
        path = top + b"/%d" % choice.randrange(8)
        local = plain + b"/" + path
        data = b"%s %d" % (top, step)
        match choice.randrange(5):
            case 0 | 1:
                handle = union.create(path, 0o644, os.O_RDWR | os.O_TRUNC, me)
                union.write(handle, data, offset=choice.randrange(3))
                union.truncate(path, 0, handle)
                union.write(handle, data, offset=0)
                union.release(handle)
                Path(os.fsdecode(local)).write_bytes(data)
            case 2 if os.path.exists(local):
                union.unlink(path)
                os.unlink(local)
            case 3 if os.path.exists(local):
                union.rename(path, path + b"x")
                os.rename(local, local + b"x")
            case 4:
                common = b"images/%s-%d" % (top, step)
                union.release(union.create(common, 0o644, os.O_WRONLY, me))
                Path(os.fsdecode(plain + b"/" + common)).touch()


@pytest.mark.parametrize("freezing", [False, True])
def test_threads_lose_nothing(
    repository: Repository, area: StagingArea, staging: Staging, tmp_path: Path, me: Caller, freezing: bool
) -> None:
    plain = os.fsencode(tmp_path / "plain")
    os.mkdir(plain)
    write_plain(plain, FILES)
    done = threading.Event()
    frozen = []

    def freeze(union: Union) -> None:
        while not done.is_set() and len(frozen) < FREEZES:
            try:
                union.gate.freeze(wait_seconds=0.01)
            except BusyError:
                continue
            assert union.gate.writers() == []
            before = sorted(os.walk(staging.upper))
            frozen.append(sorted(os.walk(staging.upper)) == before)
            union.gate.thaw()

    with serve(repository, staging) as union, ThreadPoolExecutor(WORKERS + 1) as pool:
        freezer = pool.submit(freeze, union) if freezing else None
        workers = [pool.submit(work, union, plain, b"worker%d" % number, me) for number in range(WORKERS)]
        for worker in workers:
            worker.result(60)
        done.set()
        if freezer is not None:
            freezer.result(10)
            assert frozen
            assert all(frozen), "nothing changes while it is frozen"
    result = area.commit(staging)
    expected = put_paths(repository, "plain", [Source(plain + b"/.")])
    assert result.result.version.root.content == expected.version.root.content


def test_many_threads_copy_one_file_up_once(union: Union, staging: Staging, me: Caller) -> None:
    size = len(FILES[b"images"][b"cat"])

    def overwrite(number: int) -> None:
        handle = union.open(b"images/cat", os.O_WRONLY, me)
        union.write(handle, b"%d" % number, offset=size + number)
        union.release(handle)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(overwrite, range(10)))
    handle = union.open(b"images/cat", os.O_RDONLY, me)
    assert union.read(handle, offset=size, size=100) == b"0123456789"
    union.release(handle)


def test_writers_are_known_by_process_and_present_path(union: Union) -> None:
    caller = Caller(4711, os.geteuid(), os.getegid())
    writing = union.open(b"images/cat", os.O_WRONLY, caller)
    reading = union.open(b"images/dog", os.O_RDONLY, caller)
    making = union.create(b"images/new", 0o644, os.O_RDWR, caller)
    assert set(union.gate.writers()) == {Writer(4711, b"images/cat"), Writer(4711, b"images/new")}
    union.rename(b"images", b"pictures")
    union.rename(b"pictures/new", b"final")
    assert set(union.gate.writers()) == {Writer(4711, b"pictures/cat"), Writer(4711, b"final")}
    with pytest.raises(BusyError, match=r"final by process 4711, pictures/cat by process 4711"):
        union.gate.freeze(wait_seconds=0)
    for handle in (writing, reading, making):
        union.release(handle)
    union.gate.freeze(wait_seconds=0)


def test_a_freeze_waits_for_files_that_are_just_being_closed(union: Union, me: Caller) -> None:
    handle = union.open(b"a.txt", os.O_WRONLY, me)
    closing = threading.Timer(0.05, union.release, (handle,))
    closing.start()
    union.gate.freeze(wait_seconds=20)
    closing.join()
    assert union.gate.writers() == []


@pytest.mark.parametrize("leaves_open", [False, True])
def test_a_freeze_lets_a_change_finish_that_is_under_way(
    union: Union, me: Caller, monkeypatch: pytest.MonkeyPatch, leaves_open: bool
) -> None:
    real = Lower.open_file
    copying, go_on = threading.Event(), threading.Event()

    def opening(self: Lower, entry, place=None):
        copying.set()
        assert go_on.wait(20)
        return real(self, entry, place)

    def change() -> None:
        if leaves_open:
            union.open(b"a.txt", os.O_WRONLY, me)
        else:
            union.chmod(b"a.txt", 0o600)

    def waiting() -> bool:
        with union.gate._condition:
            return union.gate._frozen

    monkeypatch.setattr(Lower, "open_file", opening)
    with ThreadPoolExecutor(3) as pool, ExitStack() as stack:
        stack.callback(union.gate.thaw)
        stack.callback(go_on.set)
        changing = pool.submit(change)
        assert copying.wait(20)
        freezing = pool.submit(union.gate.freeze, wait_seconds=0)
        while not waiting():
            assert not freezing.done()
        later = pool.submit(union.chmod, b"empty", 0o600)
        assert not freezing.done()
        go_on.set()
        changing.result(20)
        if leaves_open:
            with pytest.raises(BusyError, match=r"a\.txt"):
                freezing.result(20)
        else:
            freezing.result(20)
            assert union.getattr(b"a.txt").mode & 0o777 == 0o600
            assert union.getattr(b"empty").mode & 0o777 == 0o644
            union.gate.thaw()
        later.result(20)
    assert union.getattr(b"empty").mode & 0o777 == 0o600


def test_reading_goes_on_while_frozen(union: Union, me: Caller) -> None:
    union.gate.freeze(wait_seconds=0)
    handle = union.open(b"a.txt", os.O_RDONLY, me)
    assert union.read(handle, offset=0, size=10) == b"alpha\n"
    assert union.read_directory(b"images")
    assert union.readlink(b"link") == b"a.txt"
    union.release(handle)
