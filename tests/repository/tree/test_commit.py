"""What a commit records, and when it makes no version."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from artifactfs.errors import (
    ConflictError,
)
from artifactfs.repository.commit import CommitOptions, commit_root
from artifactfs.repository.repository import Repository
from tests.repository.tree.conftest import put

# Commit.


def test_options_are_recorded(repository: Repository, work: Path) -> None:
    options = CommitOptions(
        type="model",
        aliases=("best",),
        message="why",
        description="what",
        metadata={"lr": 0.1, "nested": {"a": [1, None]}},
        tags=("b", "a"),
        run="r",
        inputs=("other:v1",),
    )
    result = put(repository, work, options=options)
    version = repository.get_collection("data").versions[0]
    assert version == result.version
    assert (version.message, version.description, version.tags) == ("why", "what", ("a", "b"))
    assert version.metadata == {"lr": 0.1, "nested": {"a": [1, None]}}
    assert (version.run, version.inputs, version.author) == ("r", ("other:v1",), "ann@host")
    assert result.collection.type == "model"
    assert result.collection.aliases == {"latest": 0, "best": 0}


def test_if_changed_returns_the_version_that_it_would_follow(repository: Repository, work: Path) -> None:
    (work / "f").write_text("x")
    first = put(repository, work)
    os.utime(work / "f", ns=(0, 0))
    same = put(repository, work, options=CommitOptions(if_changed=True))
    assert (same.created, same.version.number) == (False, 0)
    assert repository.get_collection("data").seq == first.collection.seq
    (work / "f").write_text("y")
    assert put(repository, work, options=CommitOptions(if_changed=True)).version.number == 1
    # Not any version: the one that it follows.
    (work / "f").write_text("x")
    assert put(repository, work, options=CommitOptions(if_changed=True)).version.number == 2
    assert put(repository, work, options=CommitOptions(if_changed=True, base=1)).version.number == 3
    assert put(repository, work, options=CommitOptions(if_changed=True, base=0)).created is False


def test_if_changed_moves_the_aliases_that_were_asked_for(repository: Repository, work: Path) -> None:
    put(repository, work)
    same = put(repository, work, options=CommitOptions(if_changed=True, aliases=("best",)))
    assert not same.created
    assert repository.get_collection("data").aliases == {"latest": 0, "best": 0}
    seq = repository.get_collection("data").seq
    put(repository, work, options=CommitOptions(if_changed=True, aliases=("best",)))
    assert repository.get_collection("data").seq == seq


def test_an_alias_that_moved_is_a_conflict(repository: Repository, work: Path) -> None:
    first = put(repository, work)
    put(repository, work)
    with pytest.raises(ConflictError, match="latest"):
        commit_root(repository, "data", first.version.root, CommitOptions(expect_base=("latest", 0)))
    assert repository.get_collection("data").next_version == 2
    again = commit_root(repository, "data", first.version.root, CommitOptions(expect_base=("latest", 1), base=0))
    assert (again.version.number, again.version.base) == (2, 0)


def test_puts_at_once_make_a_version_each(repository: Repository, work: Path) -> None:
    for number in range(6):
        (work / str(number)).mkdir()
        (work / str(number) / "f").write_text(str(number))
    threads = [threading.Thread(target=put, args=(repository, work / str(number))) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = repository.get_collection("data").versions
    assert sorted(versions) == list(range(6))
    assert len({version.root.content for version in versions.values()}) == 6
