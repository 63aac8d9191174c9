"""The log under races, lost answers, damage and time that goes back."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import log_key
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import (
    ConflictError,
    DigestMismatchError,
    IntegrityError,
    MalformedError,
    NewerFormatError,
    RemoteUnavailableError,
    StorageFullError,
)
from artifactfs.model import Collection, Root
from artifactfs.repository import changes
from artifactfs.repository.log import Log
from artifactfs.repository.records import Body
from artifactfs.testing.faulty import FULL, LOSE_ANSWER, REFUSE, FaultyStore
from artifactfs.testing.repositories import commit_files, make_repository

ROOT = Root("sha256:" + "0" * 64, "sha256:" + "1" * 64, 0o755, 5, 6, 7)


class Clock:
    def __init__(self, now: int = 1000) -> None:
        self.now = now

    def now_ns(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)


def make_log(store: MemoryStore | FaultyStore, clock: Clock | None = None) -> Log:
    return Log(store, clock=clock or Clock(), author="tester", random=os.urandom)


def commit(state: Collection) -> Body:
    return changes.commit(state, root=ROOT)


def test_who_loses_the_race_runs_his_change_again_on_the_new_state() -> None:
    store = MemoryStore()
    mine, yours = make_log(store), make_log(store)
    seen: list[int] = []

    def slow(state: Collection) -> Body:
        seen.append(state.next_version)
        if len(seen) == 1:
            yours.append("animals", commit)
        return commit(state)

    state, record = mine.append("animals", slow)
    assert seen == [0, 1]
    assert (record.seq, sorted(state.versions)) == (2, [0, 1])


def test_a_check_on_the_old_state_does_not_carry_over() -> None:
    store = MemoryStore()
    mine, yours = make_log(store), make_log(store)
    yours.append("animals", commit)
    looked: list[int] = []

    def expecting(state: Collection) -> Body:
        if not looked:
            yours.append("animals", commit)
        looked.append(state.next_version)
        return changes.commit(state, root=ROOT, expected=("latest", 0))

    with pytest.raises(ConflictError):
        mine.append("animals", expecting)
    assert looked == [1, 2]
    assert mine.load("animals").next_version == 2


def test_many_writers_at_once_each_make_one_version() -> None:
    store = MemoryStore()
    threads = [threading.Thread(target=make_log(store).append, args=("animals", commit)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(make_log(store).load("animals").versions) == list(range(16))


@pytest.mark.parametrize(
    "faults", [{1: LOSE_ANSWER}, {1: REFUSE}, {1: REFUSE, 2: LOSE_ANSWER}, {1: LOSE_ANSWER, 2: REFUSE}]
)
def test_a_lost_answer_does_not_commit_twice(faults: dict[int, str]) -> None:
    store = MemoryStore()
    state, _ = make_log(FaultyStore(store, fail=faults)).append("animals", commit)
    assert sorted(state.versions) == [0]
    assert make_log(store).load("animals") == state


def test_a_store_that_never_answers_or_is_full_is_an_error() -> None:
    for fault, error in ((REFUSE, RemoteUnavailableError), (FULL, StorageFullError)):
        store = MemoryStore()
        with pytest.raises(error):
            make_log(FaultyStore(store, fail=dict.fromkeys(range(1, 9), fault))).append("animals", commit)
        assert list(store.iter_keys("")) == []


def test_record_time_never_goes_back() -> None:
    store, clock = MemoryStore(), Clock(1000)
    log = make_log(store, clock)
    log.append("animals", commit)
    clock.now = 10
    log.append("animals", commit)
    assert [record.time_ns for record in log.iter_records("animals")] == [1000, 1000]


def fill(store: MemoryStore, count: int = 4) -> None:
    log = make_log(store)
    for _ in range(count):
        log.append("animals", commit)


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_a_damaged_record_is_named_and_nothing_wrong_is_served(seq: int) -> None:
    store = MemoryStore()
    fill(store)
    key = log_key("animals", seq)
    size = store.find_size(key)
    assert size is not None
    for offset in range(size):
        faulty = FaultyStore(store)
        faulty.flip[key] = offset
        with pytest.raises((MalformedError, DigestMismatchError), match=key):
            make_log(faulty).load("animals")
    for length in (0, 1, size - 1):
        faulty = FaultyStore(store)
        faulty.truncate[key] = length
        with pytest.raises((MalformedError, DigestMismatchError), match=key):
            make_log(faulty).load("animals")


def test_a_record_of_another_log_is_refused() -> None:
    store = MemoryStore()
    fill(store)
    store.put(log_key("plants", 1), store.read(log_key("animals", 1)))
    with pytest.raises(MalformedError, match="animals"):
        make_log(store).load("plants")


def test_a_replaced_record_breaks_the_chain() -> None:
    store, other = MemoryStore(), MemoryStore()
    fill(store)
    fill(other)
    store.put(log_key("animals", 2), other.read(log_key("animals", 2)))
    with pytest.raises(MalformedError, match="does not continue"):
        make_log(store).load("animals")


def test_a_missing_record_is_named() -> None:
    store, cut = MemoryStore(), MemoryStore()
    fill(store)
    for key in store.iter_keys(""):
        if not key.endswith("2"):
            cut.put(key, store.read(key))
    with pytest.raises(MalformedError, match="missing"):
        make_log(cut).load("animals")


def test_a_state_of_another_history_is_not_built_on() -> None:
    store, other = MemoryStore(), MemoryStore()
    fill(store)
    fill(other, 2)
    foreign = make_log(other).load("animals")
    assert make_log(store).load("animals", foreign).head == make_log(store).load("animals").head


def test_checkpoints_are_only_a_cache() -> None:
    store = MemoryStore()
    fill(store, 300)
    expected = make_log(store).load("animals")
    keys = [key for key in store.iter_keys("") if "checkpoint" in key]
    assert len(keys) == 1
    assert len(expected.versions) == 300
    store.put(keys[0], b"garbage")
    assert make_log(store).load("animals") == expected


def test_numbers_go_on_after_a_collection_was_deleted() -> None:
    log = make_log(MemoryStore())
    log.append("animals", commit)
    state, _ = log.append("animals", changes.delete_collection)
    assert not state.exists
    state, _ = log.append("animals", commit)
    assert (sorted(state.versions), state.aliases) == ([1], {"latest": 1})


def test_a_newer_format_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with make_repository(tmp_path) as repository:
        commit_files(repository, "animals", {b"a": b"1"})
    path = tmp_path / "repository" / "format" / "2.json"  # the first pack made `packs` a feature
    text = path.read_text().partition("\n")[0]
    for new in (
        text.replace('"format":1', '"format":2'),
        text.replace('"reader_features":[', '"reader_features":["x",'),
    ):
        path.chmod(0o644)
        path.write_text(new)
        with pytest.raises(NewerFormatError, match=str(tmp_path)):
            make_repository(tmp_path)
    path.write_text(text.replace('"writer_features":[]', '"writer_features":["x"]'))
    with make_repository(tmp_path) as repository:
        assert repository.get_collection("animals").next_version == 1
        with pytest.raises(NewerFormatError, match="x"):
            commit_files(repository, "animals", {b"a": b"2"})
    path.write_text(text[:20])
    with pytest.raises(IntegrityError):
        make_repository(tmp_path)
