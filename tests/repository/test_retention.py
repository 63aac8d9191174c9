"""Which versions stay, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifactfs.errors import ConflictError, UsageError, VersionNotFoundError
from artifactfs.model import Collection
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions, commit_root
from artifactfs.repository.expire import Judged, Retention, judge, remove
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files, make_repository

DAY = 86400 * 10**9


@pytest.fixture
def repository(tmp_path: Path):
    with make_repository(tmp_path, use_index=False) as repository:
        for number in range(6):
            commit_files(repository, "animals", {b"a": b"%d" % number})
        repository.append("animals", lambda state: changes.set_aliases(state, version=1, aliases=["best"]))
        repository.append("animals", lambda state: changes.pin(state, pin="ab" * 16, version=2, purpose="test"))
        yield repository


def load(repository: Repository) -> Collection:
    return repository.get_collection("animals")


def stays(judged: list[Judged]) -> set[int]:
    return {item.version.number for item in judged if not item.is_removed}


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (Retention(), {0, 1, 2, 3, 4, 5}),
        (Retention(keep_last=1), {2, 5}),
        (Retention(keep_last=2), {2, 4, 5}),
        (Retention(keep_aliased=True), {1, 2, 5}),
        (Retention(keep_used=True), {0, 2, 5}),
        (Retention(keep_last=2, keep_aliased=True, keep_used=True), {0, 1, 2, 4, 5}),
        (Retention(keep_within_ns=DAY), {0, 1, 2, 3, 4, 5}),
    ],
)
def test_what_rules_keep(repository: Repository, retention: Retention, expected: set[int]) -> None:
    collection = load(repository)
    judged = judge(collection, retention, now_ns=collection.time_ns, is_used=lambda number: number == 0)
    assert [item.version.number for item in judged] == [5, 4, 3, 2, 1, 0]
    assert stays(judged) == expected
    assert all(item.reasons for item in judged if not item.is_removed)


def test_old_versions_are_not_recent(repository: Repository) -> None:
    collection = load(repository)
    judged = judge(collection, Retention(keep_within_ns=DAY), now_ns=collection.time_ns + 2 * DAY)
    assert stays(judged) == {2, 5}


def test_a_time_to_live(repository: Repository) -> None:
    collection = load(repository)
    now = collection.time_ns
    for passes in (now + DAY, now + DAY, now + 3 * DAY):
        root = collection.versions[0].root
        commit_root(repository, "animals", root, CommitOptions(expires_ns=passes))
    repository.append("animals", lambda state: changes.set_aliases(state, version=7, aliases=["chosen"]))
    commit_files(repository, "animals", {b"a": b"last"})
    collection = load(repository)
    assert stays(judge(collection, Retention(), now_ns=now)) == set(range(10))
    judged = judge(collection, Retention(), now_ns=now + 2 * DAY)
    assert stays(judged) == set(range(10)) - {6}
    assert {item.version.number: item.reasons for item in judged}[7] == ("named chosen",)
    assert stays(judge(collection, Retention(keep_last=4), now_ns=now + 2 * DAY)) == {2, 7, 8, 9}
    assert 8 in stays(judge(collection, Retention(keep_last=1), now_ns=now + 2 * DAY)), "some time is left"


def test_removal(repository: Repository) -> None:
    collection = load(repository)
    judged = {item.version.number: item for item in judge(collection, Retention(keep_last=1), now_ns=0)}
    remove(repository, collection, judged[0])
    remove(repository, collection, judged[1])
    assert set(load(repository).versions) == {2, 3, 4, 5}
    assert "best" not in load(repository).aliases
    with pytest.raises(VersionNotFoundError):
        remove(repository, collection, judged[0])
    repository.append("animals", lambda state: changes.set_aliases(state, version=3, aliases=["new"]))
    repository.append("animals", lambda state: changes.pin(state, pin="cd" * 16, version=4, purpose="test"))
    for number in (3, 4):
        with pytest.raises(ConflictError):
            remove(repository, collection, judged[number])
    assert set(load(repository).versions) == {2, 3, 4, 5}


def test_rules_that_cannot_be_meant(repository: Repository) -> None:
    with pytest.raises(UsageError):
        judge(load(repository), Retention(keep_last=-1), now_ns=0)
