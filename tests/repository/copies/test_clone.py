"""Clones: the same id, numbers and logs; brought up to date; refused when they went another way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import CollectionNotFoundError, ConflictError, DigestMismatchError, StorageFullError
from artifactfs.repository import changes
from artifactfs.repository.check import check_repository
from artifactfs.repository.clone import clone
from artifactfs.repository.reach import PREFIXES, Reach
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.testing.repositories import commit_files, find_stored, make_repository

LARGE = os.urandom(1 << 16) * (3 * CHUNK_SIZE >> 16) + b"end"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path / "source") as repository:
        commit_files(repository, "animals", {b"a": b"0", b"big": LARGE})
        commit_files(repository, "animals", {b"a": b"1", b"d": {b"b": b"x"}})
        commit_files(repository, "plants", {b"p": b"2"})
        yield repository


@pytest.fixture
def open_clone(tmp_path: Path, source: Repository) -> Iterator[Callable[[str], Repository]]:
    opened: list[Repository] = []

    def open_one(name: str) -> Repository:
        opened.append(
            open_repository(
                str(tmp_path / name), state=str(tmp_path / f"{name}-state"), author="c@host", like=source.format
            )
        )
        return opened[-1]

    yield open_one
    for repository in opened:
        repository.close()


def records(repository: Repository, name: str = "animals") -> list[bytes]:
    return [repository.store.read(key) for key in sorted(repository.store.iter_keys(f"collections/{name}/log/"))]


def test_a_clone_is_the_same_to_the_byte(source: Repository, open_clone: Callable[[str], Repository]) -> None:
    source.append("animals", lambda state: changes.delete_version(state, number=0))
    target = open_clone("clone")
    assert target.id == source.id
    done = clone(source, target)
    assert check_repository(target).damage == ()
    source.store.create("runs/2026-01-01/x/0", b"run")
    assert clone(source, target).runs == 1
    assert (done.collections, done.records, done.runs) == (("animals", "plants"), 4, 0)
    assert records(target) == records(source)
    assert records(target, "plants") == records(source, "plants")
    assert target.load_state("animals") == source.load_state("animals")
    assert target.store.read("runs/2026-01-01/x/0") == b"run"
    # What no version reaches is left behind: the large file was of the deleted one.
    assert list(target.store.iter_keys("blobs/")) == []
    again = clone(source, target)
    assert (again.records, again.objects, again.runs) == (0, 0, 0)


def test_a_clone_is_brought_up_to_date(source: Repository, open_clone: Callable[[str], Repository]) -> None:
    target = open_clone("clone")
    clone(source, target, ["animals"])
    assert target.collection_names() == ["animals"]
    commit_files(source, "animals", {b"a": b"2"})
    done = clone(source, target)
    assert done.records == 2
    assert target.get_collection("animals") == source.get_collection("animals")
    # And back, as long as only one of them went on.
    commit_files(target, "animals", {b"a": b"3"})
    assert clone(target, source).records == 1


def test_a_clone_with_changes_of_its_own_is_refused(
    source: Repository, open_clone: Callable[[str], Repository], tmp_path: Path
) -> None:
    target = open_clone("clone")
    clone(source, target)
    commit_files(target, "animals", {b"a": b"here"})
    commit_files(source, "animals", {b"a": b"there"})
    before = records(target)
    with pytest.raises(ConflictError, match="changes of its own"):
        clone(source, target)
    assert records(target) == before
    with make_repository(tmp_path / "else") as other, pytest.raises(ConflictError, match="another repository"):
        clone(source, other)
    with pytest.raises(ConflictError, match="itself"):
        clone(source, source)
    with pytest.raises(CollectionNotFoundError):
        clone(source, target, ["fungi"])


def test_what_is_damaged_is_not_cloned(source: Repository, open_clone: Callable[[str], Repository]) -> None:
    version = source.get_collection("animals").versions[0]
    stored = find_stored(source, version.root, b"big")
    stored.damage()
    target = open_clone("clone")
    with pytest.raises(DigestMismatchError, match="not copied"):
        clone(source, target)
    assert target.collection_names() == []
    stored.damage(LARGE)
    clone(source, target)
    assert check_repository(target).damage == ()


def test_an_interrupted_clone_is_gone_on_with(
    source: Repository, open_clone: Callable[[str], Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = open_clone("clone")
    real, guard, made = type(target.store).create, threading.Lock(), []

    def fail(self: object, key: str, data: bytes) -> bool:
        with guard:
            made.append(key)
            if len(made) == 2:
                raise StorageFullError("no room")
        return real(self, key, data)  # type: ignore[arg-type]

    monkeypatch.setattr(type(target.store), "create", fail)
    with pytest.raises(StorageFullError):
        clone(source, target)
    monkeypatch.undo()
    assert target.load_state("animals").seq == 1  # whole as far as it came
    assert check_repository(target).damage == ()
    clone(source, target)
    assert records(target) == records(source)


def test_what_a_killed_clone_left_is_made_durable_before_the_records(
    source: Repository, open_clone: Callable[[str], Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been killed between the names of objects and the directories that hold these."""
    target = open_clone("clone")
    clone(source, target)
    commit_files(source, "animals", {b"a": b"1", b"d": {b"b": b"x"}})
    real, done = type(target.store), list[str]()
    sync, create = real.sync_names, real.create  # type: ignore[attr-defined]
    monkeypatch.setattr(real, "sync_names", lambda self, keys: (done.extend(keys), sync(self, keys))[1])
    monkeypatch.setattr(real, "create", lambda self, key, data: (done.append(key), create(self, key, data))[1])
    clone(source, target, ["animals"])
    before = done[: next(number for number, key in enumerate(done) if "/log/" in key)]
    reach = Reach(target.blobs)
    for version in target.get_collection("animals").versions.values():
        reach.add_root(version.root)
    assert {key for prefix in PREFIXES for key in reach.objects.iter_keys(prefix)} <= set(before)


def test_a_clone_of_one_with_a_pin_can_be_pruned(source: Repository, open_clone: Callable[[str], Repository]) -> None:
    source.append("animals", lambda state: changes.pin(state, pin="1" * 32, version=0, purpose="test"))
    source.append("animals", lambda state: changes.delete_version(state, number=0))
    target = open_clone("clone")
    clone(source, target)
    assert check_repository(target).damage == ()
    assert list(target.store.iter_keys("blobs/"))
