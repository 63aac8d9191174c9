"""The index remembers, and may forget: states of collections, verified blobs, its owner."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.errors import StorageFullError
from artifactfs.index import index as module
from artifactfs.index.index import Index, open_index
from artifactfs.model import Collection, Root, Version
from artifactfs.testing.indexes import ForgetfulIndex, IndexContract, MemoryIndex
from artifactfs.testing.repositories import commit_files, make_repository

ROOT = Root("sha256:" + "0" * 64, "sha256:" + "1" * 64, 0o755, 5, 6, 7)
STATE = Collection("animals", 3, "sha256:" + "2" * 64, 9, exists=True, versions={0: Version(0, ROOT, 1, 2, "me")})


class TestLmdbIndex(IndexContract):
    @pytest.fixture
    def index(self, tmp_path: Path) -> Iterator[Index]:
        with open_index(str(tmp_path), repository_id="r") as index:
            yield index


class TestLmdbIndexThatWritesEachTime(IndexContract):
    @pytest.fixture
    def index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
        monkeypatch.setattr(module, "VERIFIED_BUFFER", 1)
        monkeypatch.setattr(module, "STATES_BUFFER", 1)
        with open_index(str(tmp_path), repository_id="r") as index:
            yield index


class TestMemoryIndex(IndexContract):
    @pytest.fixture
    def index(self) -> MemoryIndex:
        return MemoryIndex()


def test_a_state_is_remembered_across_processes(tmp_path: Path) -> None:
    with open_index(str(tmp_path), repository_id="r") as index:
        assert index.find_collection("animals") is None
        index.put_collection(STATE)
    with open_index(str(tmp_path), repository_id="r") as index:
        assert index.find_collection("animals") == STATE


def test_another_repository_finds_nothing(tmp_path: Path) -> None:
    with open_index(str(tmp_path), repository_id="r") as index:
        index.put_collection(STATE)
    with open_index(str(tmp_path), repository_id="other") as index:
        assert index.find_collection("animals") is None


def test_verified_blobs_are_known_by_digest_and_signature(tmp_path: Path) -> None:
    with open_index(str(tmp_path), repository_id="r") as index:
        index.add_verified([(b"d" * 32, b"sig")])
        assert index.has_verified(b"d" * 32, b"sig")
        assert not index.has_verified(b"d" * 32, b"other")
        assert not index.has_verified(b"e" * 32, b"")
    with open_index(str(tmp_path), repository_id="r") as index:
        assert index.has_verified(b"d" * 32, b"sig"), "what was held back was written at the end"
        index.drop()
        assert not index.has_verified(b"d" * 32, b"sig")


def test_a_full_buffer_is_written(tmp_path: Path) -> None:
    with open_index(str(tmp_path), repository_id="r") as index:
        many = [(b"%032d" % number, b"sig") for number in range(module.VERIFIED_BUFFER)]
        index.add_verified(many)
        with open_index(str(tmp_path), repository_id="r") as other:
            assert all(other.has_verified(*item) for item in many)


def test_a_repository_works_without_its_index(tmp_path: Path) -> None:
    with make_repository(tmp_path) as repository:
        commit_files(repository, "animals", {b"a": b"1"})
        state = repository.get_collection("animals")
        directory = repository.state_directory
    for name in ("data.mdb", "lock.mdb"):
        Path(directory, "index", name).unlink()
    with make_repository(tmp_path) as repository:
        assert repository.get_collection("animals") == state
        assert repository.index is not None
        assert repository.index.find_collection("animals") == state, "it filled again by use"


def test_a_state_that_the_log_contradicts_is_not_used(tmp_path: Path) -> None:
    with make_repository(tmp_path) as repository:
        commit_files(repository, "animals", {b"a": b"1"})
        true = repository.get_collection("animals")
        assert repository.index is not None
        repository.index.put_collection(STATE)
    with make_repository(tmp_path) as repository:
        assert repository.get_collection("animals") == true


def damage(directory: Path) -> None:
    """Overwrite every page but the two that describe the file, as a failing disk would."""
    path = directory / "index" / "data.mdb"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size - 8192))


def test_an_index_found_damaged_in_use_is_set_aside_and_fills_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_index(str(tmp_path), repository_id="r") as index:
        index.put_collection(STATE)
        index.flush()
        damage(tmp_path)
        assert index.find_collection("animals") is None
        assert "set aside" in caplog.text
        index.put_collection(STATE)
        index.add_verified([(b"d" * 32, b"sig")])
    with open_index(str(tmp_path), repository_id="r") as index:
        assert index.find_collection("animals") == STATE
        assert index.has_verified(b"d" * 32, b"sig")


def test_a_repository_goes_on_when_its_index_is_damaged(tmp_path: Path) -> None:
    with make_repository(tmp_path) as repository:
        commit_files(repository, "animals", {b"a": b"1"})
        state = repository.get_collection("animals")
        directory = Path(repository.state_directory)
    damage(directory)
    with make_repository(tmp_path) as repository:
        assert repository.get_collection("animals") == state
        commit_files(repository, "animals", {b"a": b"2"})
    with make_repository(tmp_path) as repository:
        assert sorted(repository.get_collection("animals").versions) == [0, 1]


def test_what_fills_a_dropped_index_stays(tmp_path: Path) -> None:
    with open_index(str(tmp_path), repository_id="r") as index:
        index.put_collection(STATE)
        index.drop()
        assert index.find_collection("animals") is None
        index.put_collection(STATE)
    with open_index(str(tmp_path), repository_id="r") as index:
        assert index.find_collection("animals") == STATE


def test_a_damaged_index_can_be_dropped(tmp_path: Path) -> None:
    with open_index(str(tmp_path), repository_id="r") as index:
        index.put_collection(STATE)
        index.flush()
        damage(tmp_path)
        index.drop()
        index.put_collection(STATE)
        index.flush()
        assert index.find_collection("animals") == STATE


def test_states_are_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATES_BUFFER", 3)
    writes: list[object] = []
    with open_index(str(tmp_path), repository_id="r") as index:
        write = index._environment.write
        monkeypatch.setattr(index._environment, "write", lambda action: (writes.append(action), write(action))[1])
        for number in range(7):
            index.put_collection(Collection(f"c{number}", 1, "sha256:" + "2" * 64))
        assert len(writes) == 2
        assert index.find_collection("c6") is not None, "what is held back is found"
    with open_index(str(tmp_path), repository_id="r") as index:
        assert all(index.find_collection(f"c{number}") for number in range(7))


def test_a_full_disk_costs_only_what_would_have_been_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open_index(str(tmp_path), repository_id="r") as index:

        def fail(action: object) -> None:
            raise StorageFullError("no room")

        monkeypatch.setattr(index._environment, "write", fail)
        index.add_verified([(b"d" * 32, b"sig")])
        index.flush()
        assert "no room" in caplog.text
        assert not index.has_verified(b"d" * 32, b"sig")


def test_threads_share_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERIFIED_BUFFER", 16)
    with open_index(str(tmp_path), repository_id="r") as index:

        def add(first: int) -> None:
            for number in range(first, first + 200):
                index.add_verified([(b"%032d" % number, b"%d" % number)])

        threads = [threading.Thread(target=add, args=(number * 200,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        index.flush()
        assert all(index.has_verified(b"%032d" % number, b"%d" % number) for number in range(1600))


@pytest.mark.parametrize("index", [MemoryIndex(), ForgetfulIndex(), None], ids=["memory", "forgetful", "none"])
def test_a_repository_works_with_any_index_or_none(tmp_path: Path, index: MemoryIndex | None) -> None:
    for number in range(3):
        with make_repository(tmp_path, use_index=False) as repository:
            repository.index = index
            commit_files(repository, "animals", {b"a": b"%d" % number})
            assert sorted(repository.get_collection("animals").versions) == list(range(number + 1))
