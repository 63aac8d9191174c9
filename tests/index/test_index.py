"""The index remembers, and may forget: states of collections, verified blobs, its owner."""

from __future__ import annotations

from pathlib import Path

from artifactfs.index import index as module
from artifactfs.index.index import open_index
from artifactfs.model import Collection, Root, Version
from artifactfs.testing.repositories import commit_files, make_repository

ROOT = Root("sha256:" + "0" * 64, "sha256:" + "1" * 64, 0o755, 5, 6, 7)
STATE = Collection("animals", 3, "sha256:" + "2" * 64, 9, exists=True, versions={0: Version(0, ROOT, 1, 2, "me")})


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
