"""Commits and prunes that take longer than the steps of prunes are kept, and records that follow from one look."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest

from artifactfs.blobstore.keys import DONE, VERDICT, prune_key
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import ConflictError, PrunedError
from artifactfs.model import Root
from artifactfs.repository.clone import clone
from artifactfs.repository.commit import commit_stored
from artifactfs.repository.condemning import ListExclusion, forget_prunes
from artifactfs.repository.looking import Look
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.reach import ObjectSet, Reach, check_present, find_object
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files, store_files
from tests.repository.prune.support import StoppedClock, delete_version, object_keys, open_listed, prune, read_all
from tests.repository.prune.test_prune import FIRST, SECOND

DAY = 86400 * 10**9


def open_without_grace(store: MemoryStore, clock: StoppedClock, start: int = 1) -> Repository:
    repository = open_listed(store, clock=clock, start=start << 64)
    assert isinstance(repository.exclusion, ListExclusion)
    repository.exclusion.timing = replace(repository.exclusion.timing, grace_seconds=0)
    return repository


def test_a_commit_that_took_longer_than_prunes_are_remembered_stores_again() -> None:
    clock, store = StoppedClock(), MemoryStore()
    slow, other = open_without_grace(store, clock), open_without_grace(store, clock, 2)
    commit_files(slow, "animals", FIRST)
    delete_version(slow, 0)
    stored: list[Root] = []

    def store_slowly() -> Root:
        stored.append(store_files(slow, FIRST))
        if len(stored) == 1:
            prune(other)  # deletes what was found to be there
            clock.time_ns += 15 * DAY
            assert isinstance(other.exclusion, ListExclusion)
            forget_prunes(other.exclusion)
            assert not list(other.exclusion.iter_prunes())
        return stored[-1]

    commit_stored(slow, "animals", store_slowly)
    assert len(stored) == 2
    check_present(store, slow.blobs, stored[-1])
    assert "animals:v1" in read_all(slow)


def test_a_prune_that_was_suspended_takes_no_verdict_on_a_list_that_may_be_forgotten() -> None:
    clock, store = StoppedClock(), MemoryStore()
    repository = open_without_grace(store, clock)
    commit_files(repository, "animals", FIRST)
    delete_version(repository, 0)
    garbage, before = find_garbage(repository), object_keys(repository)

    def suspend(_seconds: float) -> None:
        clock.time_ns += 30 * DAY
        for key in list(store.iter_keys("prune/")):
            store.delete([key])

    clock.sleep = suspend  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="forgotten"):
        delete_garbage(repository, garbage)
    assert object_keys(repository) == before
    assert b'"delete":true' not in b"".join(store.read(key) for key in store.iter_keys("prune/"))


def test_a_commit_that_was_suspended_while_it_waited_waits_for_no_prune_that_is_forgotten() -> None:
    clock, store = StoppedClock(), MemoryStore()
    repository, other = open_without_grace(store, clock), open_without_grace(store, clock, 2)
    commit_files(repository, "animals", FIRST)
    delete_version(repository, 0)
    garbage = find_garbage(other)
    assert isinstance(other.exclusion, ListExclusion)
    waited: list[float] = []

    def suspend(seconds: float) -> None:
        waited.append(seconds)
        assert len(waited) < 5, "waits for ever"
        clock.time_ns += 30 * DAY
        for key in list(store.iter_keys("prune/")):
            store.delete([key])

    with other.exclusion.deleting(garbage.objects):
        clock.sleep = suspend  # type: ignore[method-assign]
        commit_files(repository, "animals", FIRST)
    assert waited
    assert "animals:v1" in read_all(repository)


def test_one_look_at_several_roots_waits_once_and_misses_what_any_of_them_lost() -> None:
    """The prune keeps what the first one needs, and deletes what the second one does."""
    clock, store = StoppedClock(), MemoryStore()
    repository, other = open_without_grace(store, clock), open_without_grace(store, clock, 2)
    for number, files in enumerate((FIRST, SECOND)):
        commit_files(repository, "animals", files)
        delete_version(repository, number)
    condemned = find_garbage(other).objects
    exclusion = other.exclusion
    assert isinstance(exclusion, ListExclusion)
    with repository.exclusion.writing() as writing:
        first, second = store_files(repository, FIRST), store_files(repository, SECOND)
        with exclusion.deleting(condemned):
            [prune_id] = exclusion.iter_prunes()
            assert store.find_size(prune_key(prune_id, VERDICT)) is not None
            gone = [key for key in object_keys(repository) if not _is_of(repository, first, key)]
            store.delete(gone)
        assert store.find_size(prune_key(prune_id, DONE)) is not None
        writing.look(first)
        with pytest.raises(PrunedError):
            writing.look(second)
        with pytest.raises(PrunedError):
            writing.look(first, second)


def _is_of(repository: Repository, root: Root, key: str) -> bool:
    reach = Reach(repository.blobs)
    reach.add_root(root)
    found = find_object(key)
    return found is not None and reach.objects.has(*found)


def test_a_clone_looks_once_for_all_that_its_records_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Had it looked for one version after another, a wait for the last would have made the first look too old."""
    source, store = open_listed(), MemoryStore()
    store.objects = dict(source.store.objects)  # type: ignore[attr-defined]  # as a clone begins: the format alone
    target = open_listed(store)
    target.location = "/elsewhere"
    commit_files(source, "animals", FIRST)
    commit_files(source, "animals", SECOND)
    looked: list[int] = []
    monkeypatch.setattr(Look, "look", lambda _self, *roots: looked.append(len(roots)))
    clone(source, target)
    assert looked == [2]


def test_a_machine_whose_clock_is_ahead_does_not_take_a_prune_for_dead() -> None:
    clock, ahead, store = StoppedClock(), StoppedClock(), MemoryStore()
    pruning, committing = open_without_grace(store, clock), open_without_grace(store, ahead, 2)
    assert isinstance(pruning.exclusion, ListExclusion)
    assert isinstance(committing.exclusion, ListExclusion)
    commit_files(pruning, "animals", FIRST)
    delete_version(pruning, 0)
    abandoned = ExitStack()  # as by a machine that lost its power
    abandoned.enter_context(pruning.exclusion.deleting(ObjectSet()))
    (dead,) = committing.exclusion.iter_prunes()
    verdict = committing.exclusion.find_verdict(dead)
    assert verdict is not None
    ahead.time_ns = verdict.until_ns - 10**9 + 29 * 60 * 10**9  # the other has a second left
    assert not committing.exclusion.is_over(dead)
    ahead.time_ns += 2 * 60 * 10**9
    assert committing.exclusion.is_over(dead)
