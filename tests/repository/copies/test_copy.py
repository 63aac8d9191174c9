"""Copies of versions in other repositories: what they keep, what is sent, how they are known again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import BlobMissingError, DigestMismatchError, InvalidNameError, UsageError
from artifactfs.model import Version
from artifactfs.repository import changes
from artifactfs.repository.check import check_repository
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.copy import CopyOptions, CopyResult, copy_version
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import commit_files, find_stored, make_repository

LARGE = os.urandom(1 << 16) * (2 * CHUNK_SIZE + 5 * (1 << 16) >> 16) + b"end"
FILES = {b"a": b"alpha", b"d": {b"big": LARGE, b"b": b"beta", b"again": b"alpha"}, b"l": "a"}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Repository]]:
    opened: list[Repository] = []

    def make_one(name: str, **more: int) -> Repository:
        opened.append(make_repository(tmp_path / name, **more))
        return opened[-1]

    yield make_one
    for repository in opened:
        repository.close()


def copy(source: Repository, target: Repository, version: Version | int, **more: object) -> CopyResult:
    number = version if isinstance(version, int) else version.number
    collection = source.get_collection("animals")
    return copy_version(source, target, (collection, collection.versions[number]), CopyOptions(**more))  # type: ignore[arg-type]


def read(repository: Repository, version: Version, path: bytes) -> bytes:
    entry, place = Trees(repository.blobs).find_placed(version.root, path)
    file = repository.open_file(entry, place)  # type: ignore[arg-type]
    try:
        return file.read_at(0, file.size)
    finally:
        file.close()


@pytest.mark.parametrize(("packed", "there"), [(1 << 20, 1 << 20), (0, 1 << 20), (1 << 20, 0)])
def test_a_copy_has_everything_and_says_where_it_was_made(
    make: Callable[..., Repository], packed: int, there: int
) -> None:
    source, target = make("a", packed_below=packed), make("b", packed_below=there)
    commit_files(target, "animals", {b"other": b"x"})
    options = CommitOptions(
        aliases=("best",), message="why", description="what", metadata={"k": [1]}, tags=("t",), expires_ns=5
    )
    version = commit_files(source, "animals", FILES, options)
    made = copy(source, target, version, aliases=("mine",))
    found = target.get_collection("animals")
    assert made.created
    assert (made.files, made.size) == (3, 9 + len(LARGE))  # the same content twice is sent once
    assert made.version == found.versions[1]
    assert (made.version.root.tree, made.version.root.content) == (version.root.tree, version.root.content)
    for name in ("message", "description", "metadata", "tags", "expires_ns"):
        assert getattr(made.version, name) == getattr(version, name)
    assert found.aliases == {"latest": 1, "mine": 1}
    origin = made.version.origin
    assert origin is not None
    assert (origin.repository, origin.collection, origin.version) == (source.id, "animals", 0)
    assert (origin.author, origin.time_ns) == (version.author, version.time_ns)
    assert read(target, made.version, b"d/big") == LARGE
    assert read(target, made.version, b"d/again") == b"alpha"
    assert "origins" in target.format.reader_features
    assert check_repository(target).damage == ()


def test_the_same_copy_is_made_once(make: Callable[..., Repository]) -> None:
    source, target = make("a"), make("b")
    version = commit_files(source, "animals", FILES, CommitOptions(aliases=("best",)))
    first = copy(source, target, version)
    again = copy(source, target, version, with_aliases=True)
    assert (again.created, again.version.number, again.files) == (False, first.version.number, 0)
    assert target.get_collection("animals").aliases == {"latest": 0, "best": 0}
    back = copy(target, source, again.version)
    assert (back.created, back.version.number) == (False, version.number)
    assert source.get_collection("animals").next_version == 1


def test_a_copy_of_a_copy_says_where_the_first_was_made(make: Callable[..., Repository]) -> None:
    first, second, third = make("a"), make("b"), make("c")
    commit_files(first, "animals", {b"x": b"0"})
    version = commit_files(first, "animals", FILES)
    second_version = copy(first, second, version).version
    third_version = copy(second, third, second_version).version
    assert third_version.origin == second_version.origin
    assert not copy(first, third, version).created


def test_latest_does_not_go_back_to_an_older_version(make: Callable[..., Repository]) -> None:
    source, target = make("a"), make("b")
    for number in range(3):
        commit_files(source, "animals", {b"a": b"%d" % number})
    copy(source, target, 1)
    copy(source, target, 2)
    late = copy(source, target, 0, aliases=("first",))
    found = target.get_collection("animals")
    assert (late.version.number, found.aliases) == (2, {"latest": 1, "first": 2})


def test_base_and_inputs_name_the_copies(make: Callable[..., Repository]) -> None:
    source, target = make("a"), make("b")
    commit_files(target, "animals", {b"own": b"x"})
    commit_files(source, "animals", {b"a": b"0"})
    commit_files(source, "animals", {b"a": b"1"}, CommitOptions(base=0, inputs=("animals:v0", "gone:v7")))
    lone = copy(source, target, 1, name="lone").version
    assert (lone.base, lone.inputs) == (None, ())
    assert lone.origin is not None
    assert (lone.origin.base, lone.origin.inputs) == (0, ("animals:v0", "gone:v7"))
    copy(source, target, 0)
    made = copy(source, target, 1).version
    assert (made.number, made.base, made.inputs) == (2, 1, ("animals:v1",))


def test_what_is_damaged_is_not_copied(make: Callable[..., Repository]) -> None:
    for path in (b"a", b"d/big"):
        source, target = make(f"from-{path.hex()}"), make(f"to-{path.hex()}")
        version = commit_files(source, "animals", FILES)
        find_stored(source, version.root, path).damage()
        with pytest.raises(DigestMismatchError):
            copy(source, target, version)
        assert target.find_collection("animals") is None
    find_stored(source, version.root, b"d/big").file.unlink()
    with pytest.raises(BlobMissingError):
        copy(source, target, version)


def test_what_cannot_be_is_refused_before_anything_is_sent(make: Callable[..., Repository]) -> None:
    source, target = make("a"), make("b")
    version = commit_files(source, "animals", FILES)
    with pytest.raises(UsageError, match="already"):
        copy(source, source, version)
    with pytest.raises(InvalidNameError):
        copy(source, target, version, name="no/name")
    commit_files(target, "animals", {b"x": b"y"}, CommitOptions(type="model"))
    with pytest.raises(UsageError, match="type"):
        copy(source, target, version)
    assert target.blobs.has_blob(Trees(source.blobs).find_entry(version.root, b"d/big").sha256, len(LARGE)) is False  # type: ignore[union-attr]


def test_a_copy_that_was_deleted_is_made_again(make: Callable[..., Repository]) -> None:
    source, target = make("a"), make("b")
    version = commit_files(source, "animals", FILES)
    copy(source, target, version)
    target.append("animals", lambda state: changes.delete_version(state, number=0, force=True))
    assert copy(source, target, version).version.number == 1
