"""The contract of stores, on each of them; and what is the local store's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.blobstore.base import Store
from artifactfs.blobstore.disk import OBJECT_MODE
from artifactfs.blobstore.local import FEW_OBJECTS, LocalStore, open_local_store
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import InvalidNameError
from artifactfs.testing.faulty import FaultyStore
from artifactfs.testing.forgetful import CountingScratch, ForgetfulDisk
from artifactfs.testing.stores import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with open_local_store(str(tmp_path)) as store:
            yield store


class TestLocalStoreOnForgetfulDisk(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        disk = ForgetfulDisk()
        disk.make_directory("/r")
        return LocalStore("/r", disk=disk, scratch=CountingScratch(disk, "/r/tmp"))


class TestFaultyStoreWithoutFaults(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return FaultyStore(MemoryStore())


def test_objects_are_written_by_nobody_and_nothing_else_is_left(tmp_path: Path) -> None:
    with open_local_store(str(tmp_path)) as store, store.begin_batch() as batch:
        batch.name(batch.write((b"data",)), "blobs/aa/x")
        batch.flush()
        store.create("format/1.json", b"{}")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(tmp_path)) for path in files) == ["blobs/aa/x", "format/1.json"]
    assert {path.stat().st_mode & 0o222 for path in files} == {0}


@pytest.mark.parametrize("key", ["../x", "a/../../x", "./a", "ö"])
def test_keys_that_leave_the_store_are_refused(tmp_path: Path, key: str) -> None:
    with open_local_store(str(tmp_path)) as store, pytest.raises(InvalidNameError):
        store.read(key)


WRITER = """
import sys
from artifactfs.blobstore.local import open_local_store
with open_local_store(sys.argv[1]) as store, store.begin_batch() as batch:
    batch.name(batch.write((b"half",)), "blobs/aa/half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_is_swept_and_a_living_one_is_not_disturbed(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    killed, living = start(), start()
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = {path.name for path in (tmp_path / "tmp").iterdir() if path.is_dir()}
    with open_local_store(str(tmp_path)) as store:
        store.create("a", b"x")  # the first to write sweeps
        left = {path.name for path in (tmp_path / "tmp").iterdir() if path.is_dir() and list(path.iterdir())}
    assert len(before) == 2
    assert left == {name for name in before if name.startswith(f"{living.pid}-")}
    living.communicate(b"")
    for process in (killed, living):
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def test_nothing_is_written_before_the_root_is_open_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So syncfs(2) tells of every write that failed."""
    opened: list[tuple[str, object]] = []
    real = os.open

    def open_it(path: str, flags: int, *rest: int) -> int:
        opened.append((path, "object" if rest == (OBJECT_MODE,) else flags))
        return real(path, flags, *rest)

    before = len(os.listdir("/proc/self/fd"))
    with open_local_store(str(tmp_path)) as store, store.begin_batch() as batch:
        monkeypatch.setattr(os, "open", open_it)
        for number in range(2 * FEW_OBJECTS):
            batch.name(batch.write((b"%d" % number,)), f"blobs/aa/{number}")
        batch.flush()
        root = opened.index((str(tmp_path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        assert root < [what for _, what in opened].index("object")
    assert len(os.listdir("/proc/self/fd")) == before
