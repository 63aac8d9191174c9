"""Prune deletes what no version reaches, and nothing else."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import CONDEMNED, DONE, VERDICT, blob_key, draft_key, prune_key, tree_key
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.digest import hash_bytes
from artifactfs.errors import BusyError, ConflictError, IntegrityError, NewerFormatError, PrunedError
from artifactfs.model import DirectoryEntry
from artifactfs.repository import changes
from artifactfs.repository.commit import commit_root
from artifactfs.repository.condemning import ListExclusion, Timing
from artifactfs.repository.exclusion import LockExclusion
from artifactfs.repository.format import Format, encode_format
from artifactfs.repository.prune import Amount, delete_garbage, find_garbage
from artifactfs.repository.prune_steps import Condemned, Verdict, encode_step
from artifactfs.repository.reach import ObjectSet
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import commit_files, make_repository
from tests.repository.prune.support import (
    StoppedClock,
    delete_version,
    object_keys,
    open_listed,
    prune,
    read_all,
)

FIRST = {b"a": b"alpha", b"dir": {b"b": b"beta" * 1000}}
SECOND = {**FIRST, b"c": b"gamma"}
BIG = {b"big": b"0123456789abcdef" * (5 << 16)}
ID = "ab" * 16
DAY = 86400 * 10**9


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path, use_index=False, packed_below=0) as repository:
        yield repository


@pytest.fixture(params=["local", "listed"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    if request.param == "local":
        yield request.getfixturevalue("local")
    else:
        found = open_listed()
        assert isinstance(found.exclusion, ListExclusion)
        found.exclusion.timing = replace(Timing(), grace_seconds=0)
        yield found


def test_what_a_deleted_version_alone_had_goes(repository: Repository) -> None:
    commit_files(repository, "animals", FIRST)
    whole, content = object_keys(repository), read_all(repository)
    commit_files(repository, "animals", SECOND)
    assert find_garbage(repository).total == Amount(0, 0)
    delete_version(repository, 1)
    garbage = find_garbage(repository)
    assert {folder: amount.count for folder, amount in garbage.amounts.items()} == {"blobs": 1, "trees": 1}
    assert garbage.amounts["blobs"].size == len(b"gamma")
    assert garbage.reached == len(whole)
    assert delete_garbage(repository, garbage) == garbage.total
    assert object_keys(repository) == whole
    assert read_all(repository) == content


def test_what_another_prune_deleted_meanwhile_is_not_missed(repository: Repository) -> None:
    """Between the logs and the pages a version is deleted, with all that it alone had."""
    for version in (FIRST, {**SECOND, b"new": {b"d": b"delta"}}, SECOND):
        commit_files(repository, "animals", version)
    waiting = [1]

    def delete_one() -> frozenset[tuple[str, int]]:
        if waiting:
            delete_version(repository, waiting.pop())
            prune(repository)
        return frozenset()

    garbage = find_garbage(repository, delete_one)
    assert garbage.total == Amount(0, 0)
    assert [number for _, number, _ in garbage.roots] == [0, 2]


def test_what_another_prune_deletes_before_the_verdict_is_not_missed() -> None:
    """On object stores prunes may run at once: this one has its list already."""
    repository = open_listed()
    assert isinstance(repository.exclusion, ListExclusion)
    repository.exclusion.timing = replace(Timing(), grace_seconds=0)
    for version in (FIRST, {**FIRST, b"old": b"old"}):
        commit_files(repository, "animals", version)
    delete_version(repository, 1)
    garbage = find_garbage(repository)
    commit_files(repository, "animals", {**SECOND, b"new": {b"d": b"delta"}})
    waiting = [2]

    def delete_one() -> frozenset[tuple[str, int]]:
        if waiting:
            delete_version(repository, waiting.pop())
            other = find_garbage(repository)
            repository.store.delete(list(other.objects.iter_keys("trees/")))
        return frozenset()

    assert delete_garbage(repository, garbage, delete_one).count == garbage.total.count
    assert len(read_all(repository)) == 1


@pytest.mark.parametrize("place", ["local", "listed"])
def test_packs_of_which_nothing_is_reached_go(tmp_path: Path, place: str) -> None:
    """And one of which something is reached stays whole."""
    local = make_repository(tmp_path, use_index=False)
    listed = open_listed(packed_below=1 << 20)
    assert isinstance(listed.exclusion, ListExclusion)
    listed.exclusion.timing = replace(Timing(), grace_seconds=0)
    with local if place == "local" else listed as repository:
        commit_files(repository, "animals", FIRST)
        whole, content = object_keys(repository), read_all(repository)
        commit_files(repository, "animals", SECOND)
        delete_version(repository, 1)
        garbage = find_garbage(repository)
        assert {folder: amount.count for folder, amount in garbage.amounts.items()} == {"packs": 1, "treepacks": 1}
        assert garbage.amounts["packs"].size == len(b"gamma")
        delete_garbage(repository, garbage)
        assert object_keys(repository) == whole
        assert read_all(repository) == content
        commit_files(repository, "animals", {b"a": b"alpha"})
        delete_version(repository, 0)
        prune(repository)
        assert read_all(repository) == {"animals:v2": {b"a": b"alpha"}}
    local.close()


def test_a_deleted_collection_leaves_nothing(repository: Repository) -> None:
    commit_files(repository, "animals", FIRST)
    repository.append("animals", changes.delete_collection)
    prune(repository)
    assert object_keys(repository) == set()
    commit_files(repository, "animals", FIRST)
    assert read_all(repository)["animals:v1"][b"a"] == b"alpha"


def test_sums_go_with_their_blob(local: Repository, tmp_path: Path) -> None:
    from artifactfs.repository.put import Source, put_paths

    (tmp_path / "big").write_bytes(os.urandom(5 << 20))
    put_paths(local, "big", [Source(os.fsencode(tmp_path / "big"))])
    assert any(key.startswith("sums/") for key in object_keys(local))
    assert find_garbage(local).total.count == 0
    local.append("big", changes.delete_collection)
    prune(local)
    assert object_keys(local) == set()


def test_pinned_versions_stay(repository: Repository) -> None:
    commit_files(repository, "animals", FIRST)
    repository.append("animals", lambda state: changes.pin(state, pin="p", version=0, purpose="test"))
    before = object_keys(repository)
    repository.append("animals", changes.delete_collection)
    assert find_garbage(repository).kept == ("animals:v0",)
    assert prune(repository).count == 0
    assert object_keys(repository) == before
    repository.append("animals", lambda state: changes.unpin(state, pin="p"))
    assert prune(repository).count == len(before)


def test_what_somebody_looks_at_stays(repository: Repository) -> None:
    commit_files(repository, "animals", FIRST)
    repository.append("animals", changes.delete_collection)
    shown = lambda: frozenset({("animals", 0), ("plants", 1)})  # noqa: E731
    assert find_garbage(repository, shown).total.count == 0
    garbage = find_garbage(repository)
    assert garbage.total.count
    assert delete_garbage(repository, garbage, shown).count == 0, "also when it is mounted after it was looked for"


DEEP = {b"dir": {b"x": {b"kept": b"kept"}, b"y": {b"lost": b"lost"}}}


def lose_page(repository: Repository) -> None:
    """Remove the page of dir/y of the collection's first version, which is deleted after that."""
    trees = Trees(repository.blobs)
    entry, _ = trees.find_placed(repository.get_collection("animals").versions[0].root, b"dir/y")
    assert isinstance(entry, DirectoryEntry)
    repository.store.delete([tree_key(entry.tree)])
    delete_version(repository, 0)


def test_what_is_missing_where_somebody_looks_is_missed_by_a_version_that_has_it_too(repository: Repository) -> None:
    """Else what lies beside it would go."""
    commit_files(repository, "animals", DEEP)
    commit_files(repository, "animals", {**DEEP, b"more": b"more"})
    lose_page(repository)
    with pytest.raises(IntegrityError, match="animals:v1 cannot be read"):
        find_garbage(repository, lambda: frozenset({("animals", 0)}))


def test_what_is_left_of_versions_that_somebody_looks_at_stays(repository: Repository) -> None:
    commit_files(repository, "animals", DEEP)
    commit_files(repository, "animals", {**DEEP, b"more": b"more"})
    commit_files(repository, "animals", FIRST)
    lose_page(repository)
    delete_version(repository, 1)
    garbage = find_garbage(repository, lambda: frozenset({("animals", 0), ("animals", 1)}))
    kept = {blob_key(hash_bytes(data).raw) for data in (b"kept", b"more")}
    assert kept.isdisjoint(garbage.objects.iter_keys("blobs/"))
    assert set(garbage.objects.iter_keys("blobs/")) == {blob_key(hash_bytes(b"lost").raw)}


def test_deleted_versions_stay_for_a_time_where_others_may_read_them() -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    commit_files(repository, "animals", FIRST)
    delete_version(repository, 0)
    clock.time_ns += 14 * DAY - 1
    assert find_garbage(repository).kept == ("animals:v0",)
    clock.time_ns += 2
    assert find_garbage(repository).total.count == 4


def test_what_a_commit_needs_by_the_time_of_the_deletes_stays(repository: Repository) -> None:
    """Between looking and deleting, the same files are committed again."""
    commit_files(repository, "animals", SECOND)
    delete_version(repository, 0)
    garbage = find_garbage(repository)
    commit_files(repository, "animals", FIRST)
    assert delete_garbage(repository, garbage).count == 2
    assert read_all(repository) == {"animals:v1": {b"a": b"alpha", b"dir/b": b"beta" * 1000}}


def test_what_is_not_an_object_is_left_alone(repository: Repository) -> None:
    commit_files(repository, "animals", FIRST)
    strange = ["blobs/README", "blobs/ab/short", "trees/ab/" + "cd" * 32, "runs/2026-01-01/x/1", "else/1"]
    for key in strange:
        repository.store.create(key, b"x")
    repository.append("animals", changes.delete_collection)
    prune(repository)
    assert object_keys(repository) == set(strange)


@pytest.mark.parametrize("feature", ["reader_features", "writer_features"])
def test_it_stops_at_what_it_does_not_know(repository: Repository, feature: str) -> None:
    commit_files(repository, "animals", FIRST)
    delete_version(repository, 0)
    garbage = find_garbage(repository)
    found = Format(1, repository.id, "sha256", 4 << 20, 0, **{feature: ("colours",)})  # type: ignore[arg-type]
    repository.store.create("format/9.json", encode_format(found))
    with pytest.raises(NewerFormatError, match="colours"):
        find_garbage(repository)
    with pytest.raises(NewerFormatError, match="colours"):
        delete_garbage(repository, garbage)
    assert len(object_keys(repository)) == garbage.total.count


def test_it_stops_at_a_draft_that_cannot_be_read(repository: Repository) -> None:
    repository.store.create(draft_key("animals", "0" * 32, 1), b"{}")
    with pytest.raises(IntegrityError, match="drafts"):
        find_garbage(repository)


def test_it_stops_at_damage(repository: Repository) -> None:
    """What lies below a page that cannot be read is not known."""
    commit_files(repository, "animals", FIRST)
    before = object_keys(repository)
    tree = repository.get_collection("animals").versions[0].root.tree[7:]
    repository.store.delete([f"trees/{tree[:2]}/{tree}"])
    with pytest.raises(IntegrityError, match="animals:v0") as caught:
        prune(repository)
    assert "check" in caught.value.hint
    assert len(object_keys(repository)) == len(before) - 1


def test_it_stops_where_a_record_is_missing(repository: Repository) -> None:
    for content in (FIRST, SECOND, FIRST):
        commit_files(repository, "animals", content)
    repository.store.delete(["collections/animals/log/00000000000000000002"])
    with pytest.raises(IntegrityError, match="is missing"):
        find_garbage(repository)


def test_a_local_prune_waits_for_writers_and_writers_for_it(local: Repository, tmp_path: Path) -> None:
    commit_files(local, "animals", FIRST)
    delete_version(local, 0)
    garbage = find_garbage(local)
    clock = StoppedClock()
    path = f"{local.location}/lock"
    local.exclusion = LockExclusion(path, clock=clock, patience_seconds=1)
    with local.exclusion.writing(), pytest.raises(BusyError):
        delete_garbage(local, garbage)
    assert len(clock.slept) >= 10
    assert len(object_keys(local)) == garbage.total.count
    with local.exclusion.deleting(ObjectSet()):
        descriptor = os.open(path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(descriptor)
    assert delete_garbage(local, garbage) == garbage.total
    assert "lock" not in set(local.store.iter_children(""))


def test_a_writer_holds_the_lock_until_after_its_record(local: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def create(key: str, data: bytes) -> bool:
        if "/log/" in key:
            with pytest.raises(BusyError):
                LockExclusion(f"{local.location}/lock", clock=StoppedClock()).deleting(ObjectSet()).__enter__()
            seen.append(key)
        return original(key, data)

    original = local.store.create
    monkeypatch.setattr(local.store, "create", create)
    commit_files(local, "animals", FIRST)
    commit_root(local, "animals", local.get_collection("animals").versions[0].root)
    assert len(seen) == 2


def test_a_tree_that_was_stored_before_is_looked_through(repository: Repository) -> None:
    root = commit_files(repository, "animals", FIRST).root
    commit_root(repository, "plants", root)
    for name in ("animals", "plants"):
        repository.append(name, changes.delete_collection)
    blob = next(key for key in object_keys(repository) if key.startswith("blobs/"))
    repository.store.delete([blob])
    with pytest.raises(IntegrityError, match=blob):
        commit_root(repository, "plants", root)


def condemn(repository: Repository) -> tuple[ListExclusion, ObjectSet]:
    """Return what an interrupted prune of a deleted version would delete."""
    exclusion = repository.exclusion
    assert isinstance(exclusion, ListExclusion)
    exclusion.timing = replace(exclusion.timing, grace_seconds=0)
    commit_files(repository, "animals", FIRST)
    delete_version(repository, 0)
    return exclusion, find_garbage(repository).objects


def write_list(repository: Repository, objects: ObjectSet, prune_id: str = ID) -> None:
    from artifactfs.repository.prune_steps import list_objects

    step = Condemned(prune_id, "other", repository.clock.now_ns(), list_objects(objects))
    repository.store.create(prune_key(prune_id, CONDEMNED), encode_step(step))


def write_verdict(repository: Repository, *, until_ns: int, prune_id: str = ID) -> None:
    step = Verdict(prune_id, "other", repository.clock.now_ns(), delete=True, until_ns=until_ns)
    repository.store.create(prune_key(prune_id, VERDICT), encode_step(step))


def test_steps_are_written_in_order() -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    condemn(repository)
    prune(repository)
    steps = [key.rpartition("/")[2] for key in repository.store.iter_keys("prune/")]
    assert steps == [CONDEMNED, VERDICT, DONE]
    assert clock.slept == [3600]


def test_a_commit_cancels_a_prune_that_condemned_what_it_needs() -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    exclusion, objects = condemn(repository)
    clock.sleep = lambda _seconds: commit_files(repository, "animals", FIRST) and None  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="cancelled by tester"), exclusion.deleting(objects):
        pytest.fail("nothing may be deleted")
    assert "animals:v1" in read_all(repository)


def test_a_commit_waits_for_a_prune_with_a_verdict_and_stores_again() -> None:
    clock = StoppedClock()
    store = MemoryStore()
    repository = open_listed(store, clock=clock)
    _, objects = condemn(repository)
    write_list(repository, objects)
    write_verdict(repository, until_ns=clock.now_ns() + 50 * 10**9)
    stored = []
    original = clock.sleep

    def sleep(seconds: float) -> None:
        stored.append(len(object_keys(repository)))
        if len(stored) == 1:
            repository.store.delete(list(object_keys(repository)))
        original(seconds)

    clock.sleep = sleep  # type: ignore[method-assign]
    commit_files(repository, "animals", FIRST)
    assert sum(clock.slept) > 50, "until it was dead"
    assert read_all(repository) == {"animals:v1": {b"a": b"alpha", b"dir/b": b"beta" * 1000}}


def test_prunes_deleting_on_and_on_end_a_commit() -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    _, objects = condemn(repository)
    original = clock.sleep

    def sleep(seconds: float) -> None:
        repository.store.delete(list(object_keys(repository)))
        original(1e6)

    clock.sleep = sleep  # type: ignore[method-assign]
    numbers = iter(range(100))
    begin = repository.blobs.begin

    def begin_again() -> object:
        prune_id = f"{next(numbers):032x}"
        write_list(repository, objects, prune_id)
        write_verdict(repository, until_ns=clock.now_ns() + 10**9, prune_id=prune_id)
        return begin()

    repository.blobs.begin = begin_again  # type: ignore[method-assign,assignment]
    with pytest.raises(PrunedError) as caught:
        commit_files(repository, "animals", FIRST)
    assert caught.value.retryable
    assert caught.value.exit_code == 22
    assert repository.load_state("animals").seq == 2


def test_a_list_that_was_deleted_makes_a_commit_look_for_everything() -> None:
    repository = open_listed()
    condemn(repository)
    gone = sorted(object_keys(repository))[0]
    stored = iter([True])
    flush = repository.blobs.begin

    def begin() -> object:
        batch = flush()
        original = batch.flush

        def flush_and_lose() -> None:
            original()
            if next(stored, False):
                repository.store.delete([gone])
                repository.store.create(prune_key(ID, DONE), b"")

        batch.flush = flush_and_lose  # type: ignore[method-assign]
        return batch

    repository.blobs.begin = begin  # type: ignore[method-assign,assignment]
    commit_files(repository, "animals", FIRST)
    assert "animals:v1" in read_all(repository)


def test_a_damaged_list_may_name_anything() -> None:
    """So a commit cancels it."""
    repository = open_listed()
    condemn(repository)
    repository.store.create(prune_key(ID, CONDEMNED), b"damaged")
    commit_files(repository, "animals", FIRST)
    assert b'"delete":false' in repository.store.read(prune_key(ID, VERDICT))


def test_other_prunes_are_left_alone_by_commits_that_need_nothing_of_them() -> None:
    repository = open_listed()
    _, objects = condemn(repository)
    write_list(repository, objects)
    commit_files(repository, "animals", {b"other": b"bytes"})
    assert repository.store.find_size(prune_key(ID, VERDICT)) is None


def test_steps_of_old_prunes_are_forgotten() -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    _, objects = condemn(repository)
    write_list(repository, objects)
    clock.time_ns += 15 * DAY
    prune(repository)
    assert b'"delete":false' in repository.store.read(prune_key(ID, VERDICT)), "it died before its verdict"
    clock.time_ns += 15 * DAY
    commit_files(repository, "animals", SECOND)
    delete_version(repository, 1)
    clock.time_ns += 15 * DAY
    prune(repository)
    assert len({key.split("/")[1] for key in repository.store.iter_keys("prune/")}) == 1


def test_a_prune_deletes_for_an_hour_at_most() -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    exclusion, objects = condemn(repository)
    with pytest.raises(ConflictError, match="time"), exclusion.deleting(objects) as may_delete:  # noqa: PT012
        may_delete(1)
        clock.time_ns += 3600 * 10**9
        may_delete(1)


@pytest.mark.parametrize("deletes", [0, 1])
def test_an_interrupted_prune_is_done_only_if_no_delete_can_arrive(deletes: int) -> None:
    repository = open_listed()
    exclusion, objects = condemn(repository)
    with pytest.raises(KeyboardInterrupt), exclusion.deleting(objects) as may_delete:  # noqa: PT012
        for _ in range(deletes):
            may_delete(1)
        raise KeyboardInterrupt
    [prune_id] = exclusion.iter_prunes()
    assert (repository.store.find_size(prune_key(prune_id, DONE)) is None) == bool(deletes)
    assert not exclusion.is_over(prune_id) or not deletes
