"""What check advises in a store elsewhere, where nothing is set aside and removed versions are kept for a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import MalformedError
from artifactfs.repository.advice import find_advice
from artifactfs.repository.check import CheckReport, check_repository
from artifactfs.repository.clone import clone
from artifactfs.repository.condemning import Timing
from artifactfs.repository.prune import find_garbage
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repair import repair
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files
from tests.repository.prune.support import StoppedClock, delete_version, open_listed, prune, read_all
from tests.repository.prune.test_prune import FIRST, SECOND


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


@pytest.mark.parametrize("packed_below", [0, 1 << 20])
def test_a_clone_in_a_bucket_misses_nothing_of_what_was_removed_before(packed_below: int) -> None:
    """Removed versions are kept there for a time, but a clone has only their records."""
    origin, store = MemoryStore(), MemoryStore()
    source = open_listed(origin, packed_below=packed_below)
    for content in (FIRST, SECOND):
        commit_files(source, "animals", content)
    delete_version(source, 0)
    delete_version(source, commit_files(source, "animals", {b"other": b"other"}).number)
    store.objects = {key: data for key, data in origin.objects.items() if key.startswith("format/")}
    target = open_listed(store, packed_below=packed_below, start=1 << 64)
    target.location = "/elsewhere"
    clone(source, target)
    assert check_repository(target, share=1).damage == ()
    garbage = find_garbage(target)
    assert (garbage.total.count, garbage.kept) == (0, ("animals:v0",) if packed_below else ())
    delete_version(target, commit_files(target, "animals", {b"more": b"more"}).number)
    assert prune(target).count == 0
    assert set(read_all(target)) == {"animals:v1"}


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


class Believed(MemoryStore):
    """Is believed to have what it had, as object stores are."""

    keeps_checksums = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("prefix", "packed_below"), [("blobs/", 0), ("trees/", 0), ("packs/", 1 << 20), ("treepacks/", 1 << 20)]
)
def test_what_is_damaged_is_stored_again_by_who_believes_nothing(
    tmp_path: Path, prefix: str, packed_below: int
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"alpha")
    repository = open_listed(Believed(), packed_below=packed_below)

    def put(*, rehash: bool) -> None:
        put_paths(repository, "animals", [Source(bytes(tmp_path / "d"), b"")], rehash=rehash)

    put(rehash=False)
    key = min(repository.store.iter_keys(prefix))
    data = repository.store.read(key)
    repository.store.delete([key])
    repository.store.create(key, data[:-1] + bytes([data[-1] ^ 1]))
    put(rehash=False)
    assert ("put --rehash" in advise(repository)[key]) == (prefix != "treepacks/"), "pages are compared in any case"
    put(rehash=True)
    while found := advise(repository):
        if "`artifactfs prune`" in found[key]:
            prune(repository)
        else:
            assert "--repair" in found[key]
            repair(repository, check(repository).damage)
    assert len(read_all(repository)) == 3
