"""What check advises in a store elsewhere, where nothing is set aside and removed versions are kept for a time."""

from __future__ import annotations

import pytest

from artifactfs.errors import MalformedError
from artifactfs.repository.advice import find_advice
from artifactfs.repository.check import CheckReport, check_repository
from artifactfs.repository.condemning import Timing
from artifactfs.repository.prune import find_garbage
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files
from tests.repository.prune.support import StoppedClock, delete_version, open_listed, prune


def damage(repository: Repository, key: str) -> None:
    repository.store.delete([key])
    repository.store.create(key, b"damaged")
    repository.blobs.forget()


def advise(repository: Repository) -> dict[str, str]:
    return {item.key: find_advice(repository, item) for item in check(repository).damage}


def check(repository: Repository) -> CheckReport:
    return check_repository(repository, share=1)


@pytest.mark.parametrize("prefix", ["blobs/", "trees/"])
def test_what_a_removed_version_needs_is_needed_while_it_is_kept(prefix: str) -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    commit_files(repository, "animals", {b"a": b"alpha"})
    before = set(repository.store.iter_keys(prefix))
    commit_files(repository, "animals", {b"b": b"beta"})
    [key] = set(repository.store.iter_keys(prefix)) - before
    delete_version(repository, 1)
    assert (check(repository).unreached, find_garbage(repository).total.count) == (0, 0)
    damage(repository, key)
    [item] = check(repository).damage
    assert item.places.listed == [("animals:v1 (removed)", b"b" if prefix == "blobs/" else b"")]
    assert "wait until the removed versions are given up" in advise(repository)[key]
    clock.sleep(Timing().grace_seconds + 1)
    assert advise(repository) == {key: "no version needs it: `artifactfs prune` deletes it"}
    assert prune(repository).count == 2
    assert check(repository).damage == ()


def test_what_another_machine_gave_up_already_is_not_missed() -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    commit_files(repository, "animals", {b"a": b"alpha"})
    commit_files(repository, "animals", {b"b": b"beta"})
    delete_version(repository, 1)
    clock.sleep(Timing().grace_seconds + 1)
    assert prune(repository).count == 2
    clock.time_ns -= 60 * 10**9
    assert check(repository).damage == ()


@pytest.mark.parametrize("step", ["condemned", "verdict", "done"])
def test_a_damaged_step_of_a_prune(step: str) -> None:
    """Who needs nothing that it may have condemned goes on; others wait, or are told."""
    repository = open_listed()
    commit_files(repository, "animals", {b"a": b"alpha"})
    with repository.blobs.begin() as batch:  # left by a commit that did not end well
        batch.store_bytes(b"garbage")
        batch.flush()
    assert prune(repository).count == 1
    [prefix] = {key.rpartition("/")[0] for key in repository.store.iter_keys("prune/")}
    if step == "verdict":
        repository.store.delete([f"{prefix}/done"])
    damage(repository, f"{prefix}/{step}")
    commit_files(repository, "animals", {b"b": b"beta"})
    if step == "verdict":
        with pytest.raises(MalformedError):
            commit_files(repository, "animals", {b"c": b"garbage"})
    [(key, advice)] = advise(repository).items()
    assert "delete it" in advice
    repository.store.delete([key])
    assert advise(repository) == {}
    commit_files(repository, "animals", {b"c": b"garbage"})
    assert check(repository).damage == ()
