"""Processes that copy for a `get`: they may die, and what they cannot write is named."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactfs.errors import AlreadyExistsError, ArtifactFSError
from artifactfs.model import Root
from artifactfs.repository import copyworker, copyworkers
from artifactfs.repository.checkout import checkout
from artifactfs.repository.landing import WORK_NAME
from artifactfs.repository.repository import Repository
from tests.repository.tree.conftest import Killed, Killer, put
from tests.repository.tree.support import snapshot

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: threads copy")
COUNT = 300


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Let small versions be copied by processes as well, and give those that were started."""
    started = []
    real = subprocess.Popen

    def start(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*args, **options))
        return started[-1]

    monkeypatch.setattr(copyworkers, "FROM_FILES", 1)
    monkeypatch.setattr(subprocess, "Popen", start)
    yield started
    assert all(process.returncode is not None for process in started)


@pytest.fixture
def version(repository: Repository, work: Path) -> Root:
    for number in range(COUNT):
        path = work / "s" / str(number // 50) / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d " % number * number)
        path.chmod((0o644, 0o755, 0o400)[number % 3])
        os.utime(path, ns=(1, 1_234_567_890_000_000_000 + number))
    return put(repository, f"{work}/s/").version.root


def test_they_copy_what_is_in_packs(
    repository: Repository, work: Path, version: Root, processes: list[subprocess.Popen[bytes]]
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    result = checkout(repository, version, os.fsencode(work / "t"))
    assert snapshot(work / "t") == snapshot(work / "s")
    assert (result.files, result.size, result.copied) == (COUNT, version.size, COUNT)
    assert 2 <= len(processes) <= copyworkers.MOST_WORKERS
    assert [process.returncode for process in processes] == [0] * len(processes)
    # Packs stay open for what comes next; nothing else does.
    assert len(os.listdir("/proc/self/fd")) - before <= len(list(Path(repository.location, "packs").rglob("*")))


def test_few_files_start_no_process(repository: Repository, work: Path, version: Root) -> None:
    for path in (b"", b"1"):
        checkout(repository, version, os.fsencode(work / f"t{path.decode()}"), path=path)
    assert copyworkers.FROM_FILES > COUNT


@pytest.mark.parametrize("when", ["at once", "meanwhile"])
def test_dead_ones_are_not_missed(
    repository: Repository,
    work: Path,
    version: Root,
    processes: list[subprocess.Popen[bytes]],
    when: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = copyworkers.CopyWorkers.copy
    calls = []

    def copy(self: copyworkers.CopyWorkers, job: copyworkers.Job) -> object:
        calls.append(job)
        if len(calls) == (1 if when == "at once" else 6):
            for process in processes:
                process.kill()
                process.wait()
        return real(self, job)

    monkeypatch.setattr(copyworkers.CopyWorkers, "copy", copy)
    result = checkout(repository, version, os.fsencode(work / "t"))
    assert result.files == COUNT
    assert result.size == version.size
    assert snapshot(work / "t") == snapshot(work / "s")


def test_what_cannot_be_started_is_not_missed(
    repository: Repository, work: Path, version: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copyworkers, "FROM_FILES", 1)

    def refuse(*args: object, **options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    checkout(repository, version, os.fsencode(work / "t"))
    assert snapshot(work / "t") == snapshot(work / "s")


@pytest.mark.parametrize("number", [errno.EMSGSIZE, errno.ETOOMANYREFS])
def test_a_job_that_cannot_be_sent_is_done_all_the_same(
    repository: Repository,
    work: Path,
    version: Root,
    processes: list[subprocess.Popen[bytes]],
    number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = socket.send_fds, []

    def send(*args: Any) -> int:
        calls.append(args)
        if len(calls) == 3:
            raise OSError(number, os.strerror(number))
        return real(*args)

    monkeypatch.setattr(socket, "send_fds", send)
    assert checkout(repository, version, os.fsencode(work / "t")).files == COUNT
    assert snapshot(work / "t") == snapshot(work / "s")


def test_what_is_too_much_for_one_message_is_done_all_the_same(
    repository: Repository,
    work: Path,
    version: Root,
    processes: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copyworkers, "MESSAGE_LIMIT", 100)
    assert checkout(repository, version, os.fsencode(work / "t")).files == COUNT
    assert snapshot(work / "t") == snapshot(work / "s")


def test_the_same_call_goes_on_with_what_they_left(
    repository: Repository, work: Path, version: Root, processes: list[subprocess.Popen[bytes]]
) -> None:
    with pytest.raises(Killed):
        checkout(repository, version, os.fsencode(work / "t"), progress=Killer(100))
    left = [path for path in (work / "t").rglob("*") if path.is_file() and path.parent.name != WORK_NAME.decode()]
    assert all(path.read_bytes() == (work / "s" / path.relative_to(work / "t")).read_bytes() for path in left)
    result = checkout(repository, version, os.fsencode(work / "t"))
    assert result.kept == len(left) >= 100
    assert snapshot(work / "t") == snapshot(work / "s")


def test_what_is_in_the_way_is_named(
    repository: Repository, work: Path, version: Root, processes: list[subprocess.Popen[bytes]]
) -> None:
    with pytest.raises(Killed):
        checkout(repository, version, os.fsencode(work / "t"), progress=Killer(100))
    (work / "t" / "5" / "299").mkdir(parents=True)
    with pytest.raises(AlreadyExistsError, match="t/5/299"):
        checkout(repository, version, os.fsencode(work / "t"))


def test_a_limit_of_the_system_is_named_and_the_rest_goes_on_later(
    repository: Repository, work: Path, version: Root, processes: list[subprocess.Popen[bytes]]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ArtifactFSError, match=r"writing .*/t/\d/\d+"):
            checkout(repository, version, os.fsencode(work / "t"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    checkout(repository, version, os.fsencode(work / "t"))
    assert snapshot(work / "t") == snapshot(work / "s")


def test_an_access_list_does_not_change_the_bits(
    repository: Repository, work: Path, version: Root, processes: list[subprocess.Popen[bytes]]
) -> None:
    (work / "t").mkdir()
    # user::rwx, group::---, other::---; each tag, bits, and no id. Source: linux/posix_acl_xattr.h.
    entries = b"".join(struct.pack("<HHI", tag, bits, 0xFFFFFFFF) for tag, bits in ((1, 7), (4, 0), (0x20, 0)))
    try:
        os.setxattr(work / "t", "system.posix_acl_default", struct.pack("<I", 2) + entries)
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")
    checkout(repository, version, os.fsencode(work / "t"))
    assert stat.S_IMODE((work / "t" / "0" / "0").stat().st_mode) == 0o644
    assert stat.S_IMODE((work / "t" / "0" / "2").stat().st_mode) == 0o400


def test_a_file_system_without_copy_file_range(work: Path) -> None:
    with open(work / "pack", "wb") as file:
        file.write(b"head" + b"content" + b"tail")
    (work / "t" / "below").mkdir(parents=True)
    root, pack = (os.open(path, os.O_RDONLY) for path in (work / "t", work / "pack"))
    try:
        copier = copyworker.Copier(root, root)
        copier._can_copy_range = False
        files = [(b"a", 0o600, 1, 0, 4, 7), (b"b", 0o600, 1, 0, 11, 5)]
        assert copier.copy_all([b"below"], files, [pack]) == (1, errno.EIO)  # the second one ends too early
    finally:
        os.close(root)
        os.close(pack)
    assert (work / "t" / "below" / "a").read_bytes() == b"content"
    assert sorted(os.listdir(work / "t")) == ["below"]
    assert os.listdir(work / "t" / "below") == ["a"]
