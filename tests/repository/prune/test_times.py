"""The times on which prunes and commits of a store without locks rely: each is kept, whatever else takes long."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import CONDEMNED, DONE, VERDICT, prune_key
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import ConfigurationError, ConflictError
from artifactfs.repository.condemning import forget_prunes
from artifactfs.repository.exclusion import LockExclusion
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.prune_steps import Verdict, encode_step
from artifactfs.repository.reach import ObjectSet
from artifactfs.testing.repositories import commit_files, make_repository
from tests.repository.prune.support import StoppedClock, object_keys, open_listed, read_all
from tests.repository.prune.test_prune import FIRST, ID, condemn, write_list, write_verdict

OTHER = "cd" * 16
MINUTE = 60 * 10**9
YEAR = 365 * 86400 * 10**9


class TellingStore(MemoryStore):
    """A store that says when its objects came, by a clock of its own, as buckets do."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        super().__init__()
        self.now_ns = now_ns
        self.times: dict[str, int] = {}
        self.doubtful_deletes = 0

    def create(self, key: str, data: bytes) -> bool:
        self.times.setdefault(key, self.now_ns())
        return super().create(key, data)

    def find_time_ns(self, key: str) -> int | None:
        return self.times.get(key)


def test_a_look_that_took_long_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it reads the list of one prune, another lists what it needs: the hour of that does not wait for it."""
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    _, objects = condemn(repository)
    write_list(repository, ObjectSet(), OTHER)
    read = repository.store.read
    slow = [prune_key(OTHER, CONDEMNED)]

    def read_slowly(key: str) -> bytes:
        if key in slow:
            slow.remove(key)
            write_list(repository, objects)
            clock.time_ns += 20 * MINUTE
        return read(key)

    monkeypatch.setattr(repository.store, "read", read_slowly)
    commit_files(repository, "animals", FIRST)
    assert not slow
    assert b'"delete":false' in repository.store.read(prune_key(ID, VERDICT))


def test_each_list_is_read_once_in_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes, the second turn ends."""
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    condemn(repository)
    write_list(repository, ObjectSet(), OTHER)
    read = repository.store.read
    times: list[str] = []

    def read_slowly(key: str) -> bytes:
        if key.startswith("prune/"):
            times.append(key)
            clock.time_ns += 20 * MINUTE
        return read(key)

    with repository.exclusion.writing() as writing:
        root = commit_files(repository, "plants", FIRST).root
        monkeypatch.setattr(repository.store, "read", read_slowly)
        writing.look(root)
    assert times == [prune_key(OTHER, CONDEMNED)]


def test_a_commit_waits_for_a_dead_prune_of_a_machine_with_a_wrong_clock_no_longer_than_for_others() -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    told: list[str] = []
    repository.exclusion.tell = told.append
    _, objects = condemn(repository)
    write_list(repository, objects)
    step = Verdict(ID, "other", clock.now_ns() + YEAR, delete=True, until_ns=clock.now_ns() + YEAR + 65 * MINUTE)
    repository.store.create(prune_key(ID, VERDICT), encode_step(step))
    commit_files(repository, "animals", FIRST)
    assert 65 * 60 <= sum(clock.slept) <= 100 * 60
    assert told == ["waiting for the prune of other to end, which deletes what this needs: 95 min at most"]


def test_a_wait_for_a_prune_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    _, objects = condemn(repository)
    write_list(repository, objects)
    write_verdict(repository, until_ns=clock.now_ns() + 50 * 10**9)
    with caplog.at_level(logging.WARNING):
        commit_files(repository, "animals", FIRST)
    assert [record.getMessage() for record in caplog.records if "waiting for the prune" in record.getMessage()]


def test_a_wait_for_the_lock_is_told(tmp_path: Path) -> None:
    with make_repository(tmp_path, use_index=False) as repository, ExitStack() as stack:
        told: list[str] = []
        has_told = threading.Event()

        def tell(text: str) -> None:
            told.append(text)
            has_told.set()

        repository.exclusion.tell = tell
        commit_files(repository, "animals", FIRST)
        assert not told
        other = LockExclusion(f"{repository.location}/lock", clock=StoppedClock())
        stack.enter_context(other.deleting(ObjectSet()))
        thread = threading.Thread(target=commit_files, args=(repository, "animals", {b"b": b"beta"}))
        thread.start()
        assert has_told.wait(60)
        stack.close()
        thread.join(60)
        assert told == ["waiting until a prune, or a repair, of the repository has ended"]
        assert len(repository.get_collection("animals").versions) == 2


def test_a_prune_is_not_done_while_a_delete_that_was_sent_twice_may_arrive() -> None:
    clock = StoppedClock()
    store = TellingStore(clock.now_ns)
    repository = open_listed(store, clock=clock)
    condemn(repository)
    delete = store.delete

    def delete_twice(keys: object) -> None:
        if not clock.slept[1:]:
            store.doubtful_deletes += 1
        delete(keys)  # type: ignore[arg-type]

    store.delete = delete_twice  # type: ignore[method-assign,assignment]
    garbage, waits = find_garbage(repository), list[int]()
    delete_garbage(repository, garbage, waiting=waits.append)
    assert clock.slept == [3600, 300]
    assert len(waits) == 2
    [prune] = repository.exclusion.iter_prunes()  # type: ignore[attr-defined]
    assert store.times[prune_key(prune, DONE)] >= store.times[prune_key(prune, VERDICT)] + 300 * 10**9


@pytest.mark.parametrize(("minutes", "said"), [(40, "40 minutes behind"), (-40, "40 minutes ahead of")])
def test_a_machine_whose_clock_is_wrong_prunes_nothing(minutes: int, said: str) -> None:
    clock = StoppedClock()
    store = TellingStore(lambda: clock.time_ns + minutes * MINUTE)
    repository = open_listed(store, clock=clock)
    condemn(repository)
    before = object_keys(repository)
    with pytest.raises(ConfigurationError, match=said):
        delete_garbage(repository, find_garbage(repository))
    assert object_keys(repository) == before
    assert not clock.slept
    [prune] = repository.exclusion.iter_prunes()  # type: ignore[attr-defined]
    assert b'"delete":false' in store.read(prune_key(prune, VERDICT))


def test_the_hour_is_also_one_by_the_clock_of_the_store() -> None:
    """The clock of this machine runs twice as fast."""
    clock = StoppedClock()
    begun = clock.time_ns
    store = TellingStore(lambda: begun + (clock.time_ns - begun) // 2)
    repository = open_listed(store, clock=clock)
    condemn(repository)
    delete_garbage(repository, find_garbage(repository))
    assert clock.slept == [3600, 1800]
    assert not object_keys(repository)


def test_an_interrupted_forgetting_leaves_nothing() -> None:
    repository = open_listed()
    exclusion, _ = condemn(repository)
    repository.store.create(prune_key(ID, DONE), b"")
    forget_prunes(exclusion)
    assert not list(exclusion.iter_prunes())


def test_commits_need_not_read_the_list_of_a_prune_that_died_a_day_ago() -> None:
    clock = StoppedClock()
    repository = open_listed(clock=clock)
    exclusion, objects = condemn(repository)
    write_list(repository, objects)
    clock.time_ns += 2 * 3600 * 10**9
    forget_prunes(exclusion)
    assert repository.store.find_size(prune_key(ID, VERDICT)) is None
    clock.time_ns += 24 * 3600 * 10**9
    forget_prunes(exclusion)
    assert b'"delete":false' in repository.store.read(prune_key(ID, VERDICT))
    with pytest.raises(ConflictError):
        exclusion._take_verdict(ID, clock.now_ns())
    commit_files(repository, "animals", FIRST)
    assert "animals:v1" in read_all(repository)
