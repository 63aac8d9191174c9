"""What was put before and did not change is not read; what might have changed is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.repository import reading
from artifactfs.repository.commit import CommitResult
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.repository.unchanged import ON_DISK_NS, Unchanged
from artifactfs.staging.hashes import SETTLED_NS
from artifactfs.testing.indexes import MemorySources
from artifactfs.testing.repositories import find_stored, make_repository

MINUTE = 60 * 10**9


class Clock:
    """The time, shifted."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def now_ns(self) -> int:
        import time

        return time.time_ns() + self.ahead_ns

    def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repository(tmp_path: Path, clock: Clock) -> Iterator[Repository]:
    with make_repository(tmp_path / "top", clock=clock) as repository:
        yield repository


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "d").mkdir(parents=True)
    (folder / "a").write_bytes(b"alpha")
    (folder / "d" / "b").write_bytes(b"beta")
    (folder / "large").write_bytes(b"l" * (5 << 20))
    os.symlink("a", folder / "link")
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the names of files that are read."""
    names: list[bytes] = []
    real = reading.FileReader.read_file

    def note(self: reading.FileReader, found: object) -> object:
        names.append(found.name)  # type: ignore[attr-defined]
        return real(self, found)  # type: ignore[arg-type]

    monkeypatch.setattr(reading.FileReader, "read_file", note)
    return names


def put(repository: Repository, source: Path, **more: object) -> CommitResult:
    return put_paths(repository, "data", [Source(os.fsencode(source), b"")], **more)  # type: ignore[arg-type]


def read_again(repository: Repository, source: Path, read: list[bytes], **more: object) -> set[bytes]:
    read.clear()
    put(repository, source, **more)
    return set(read)


def test_what_did_not_change_is_not_read(repository: Repository, source: Path, clock: Clock, read: list[bytes]) -> None:
    clock.ahead_ns = MINUTE
    first = put(repository, source)
    assert set(read) == {b"a", b"b", b"large"}
    assert read_again(repository, source, read) == set()
    (source / "a").write_bytes(b"ALPHA")
    clock.ahead_ns = 2 * MINUTE
    assert read_again(repository, source, read) == {b"a"}
    os.chmod(source / "d" / "b", 0o600)
    clock.ahead_ns = 3 * MINUTE
    assert read_again(repository, source, read) == {b"b"}
    assert read_again(repository, source, read, rehash=True) == {b"a", b"b", b"large"}
    (source / "a").write_bytes(b"alpha")
    os.chmod(source / "d" / "b", 0o644)
    assert put(repository, source).version.root.content == first.version.root.content


def test_the_same_tree_has_the_same_digest_read_or_not(repository: Repository, source: Path, clock: Clock) -> None:
    clock.ahead_ns = MINUTE
    first = put(repository, source).version.root
    assert put(repository, source).version.root == first
    assert put(repository, source, rehash=True).version.root == first


def test_what_changed_just_now_is_read(repository: Repository, source: Path, read: list[bytes]) -> None:
    put(repository, source)
    assert read_again(repository, source, read) == {b"a", b"b", b"large"}


def test_a_file_put_in_its_place_is_read(repository: Repository, source: Path, clock: Clock, read: list[bytes]) -> None:
    clock.ahead_ns = MINUTE
    put(repository, source)
    before = os.stat(source / "a")
    (source / "other").write_bytes(b"omega")
    os.utime(source / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(source / "other", source / "a")
    assert read_again(repository, source, read) == {b"a"}


def test_what_the_store_lost_is_read_and_stored_again(
    repository: Repository, source: Path, clock: Clock, read: list[bytes]
) -> None:
    clock.ahead_ns = MINUTE
    root = put(repository, source).version.root
    find_stored(repository, root, b"large").file.unlink()
    assert read_again(repository, source, read) == {b"large"}
    find_stored(repository, root, b"a").file.unlink()
    repository.blobs.forget()
    assert read_again(repository, source, read) == {b"a", b"b"}
    placed = Trees(repository.blobs).find_placed(root, b"a")
    assert repository.open_file(*placed).read_at(0, 9) == b"alpha"  # type: ignore[arg-type]


def test_what_is_damaged_in_the_store_is_read_and_stored_again(
    repository: Repository, source: Path, clock: Clock, read: list[bytes]
) -> None:
    clock.ahead_ns = MINUTE
    root = put(repository, source).version.root
    find_stored(repository, root, b"d/b").damage()
    repository.blobs.forget()
    assert read_again(repository, source, read) == {b"b"}


def test_progress_adds_up_whether_or_not_files_are_read(repository: Repository, source: Path, clock: Clock) -> None:
    from tests.repository.tree.conftest import Recorder

    clock.ahead_ns = MINUTE
    for _ in range(2):
        told = Recorder()
        put(repository, source, progress=told)
        assert told.totals == (told.files, told.size) == (3, (5 << 20) + 9)


def test_what_may_not_have_been_on_disk_is_forgotten_when_the_machine_starts(source: Path) -> None:
    status = os.stat(source / "a")
    path = os.fsencode(source / "a")
    from artifactfs.model import FileEntry

    entry = FileEntry(b"a", 0o644, status.st_mtime_ns, status.st_size, b"s" * 32)
    for age_ns, counts in ((SETTLED_NS // 2, False), (MINUTE, False), (ON_DISK_NS + MINUTE, True)):
        log = MemorySources()
        now_ns = status.st_ctime_ns + age_ns
        Unchanged(log, now_ns=now_ns, rehash=False, boot_id="one").add([(path, status, entry)])
        later = now_ns + 10 * MINUTE
        [same] = Unchanged(log, now_ns=later, rehash=False, boot_id="one").find([(path, status)])
        assert (same is not None) == (age_ns > SETTLED_NS)
        [after] = Unchanged(log, now_ns=later, rehash=False, boot_id="two").find([(path, status)])
        assert (after is not None) == counts


def test_a_file_of_before_1677_is_put_and_not_remembered(repository: Repository, clock: Clock) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        Path(folder, "old").write_bytes(b"x")
        os.utime(Path(folder, "old"), ns=(0, -(10**19)))
        if os.stat(Path(folder, "old")).st_mtime_ns != -(10**19):
            pytest.skip("this file system does not know the time")
        clock.ahead_ns = MINUTE
        for _ in range(2):
            assert put_paths(repository, "old", [Source(os.fsencode(folder), b"")]).version.root.count == 1
