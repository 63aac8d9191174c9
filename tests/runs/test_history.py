"""Runs: what is recorded is read again, and two processes of one run lose nothing of each other."""

from __future__ import annotations

import hashlib
import itertools
import threading
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactfs.blobstore.keys import run_key
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import DigestMismatchError, InvalidNameError, MalformedError, NotFoundError, UsageError
from artifactfs.runs.events import Finished, Logged, Started, Used, decode_event, encode_event, new_run_id, run_day
from artifactfs.runs.history import RunLog

NOON_NS = 1_795_435_200_000_000_000  # 2026-11-23T12:00:00Z


class Ticking:
    """A clock that goes on by a second each time it is read."""

    def __init__(self, start_ns: int = NOON_NS) -> None:
        self._times = itertools.count(start_ns, 1_000_000_000)

    def now_ns(self) -> int:
        return next(self._times)

    def sleep(self, seconds: float) -> None:
        raise AssertionError


def counting_random() -> object:
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def log(store: MemoryStore) -> RunLog:
    return RunLog(store, clock=Ticking(), random=counting_random())  # type: ignore[arg-type]


@given(st.integers(0, 2**47 * 1_000_000), st.binary(min_size=10, max_size=10))
def test_ids_are_version_7_and_carry_the_time(time_ns: int, noise: bytes) -> None:
    found = uuid.UUID(new_run_id(time_ns, lambda _: noise))
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == time_ns // 1_000_000


def test_later_ids_are_greater() -> None:
    ids = [new_run_id(NOON_NS + number * 1_000_000, lambda size: b"\xff" * size) for number in range(50)]
    assert ids == sorted(ids)
    assert run_day(ids[0]) == "2026-11-23"


EVENTS = st.one_of(
    st.builds(
        Started,
        st.just("r"),
        st.integers(0, 2**62),
        st.text(),
        st.text(),
        config=st.dictionaries(st.text(), st.one_of(st.none(), st.integers(0, 9), st.text(), st.lists(st.booleans()))),
        tags=st.lists(st.text()).map(tuple),
    ),
    st.builds(Used, st.just("r"), st.integers(0, 2**62), st.text()),
    st.builds(Logged, st.just("r"), st.integers(0, 2**62), st.text(), st.booleans()),
    st.builds(Finished, st.just("r"), st.integers(0, 2**62), st.integers(-255, 255)),
)


@given(EVENTS)
def test_decode_after_encode_is_identity(event: object) -> None:
    assert decode_event(encode_event(event)) == event  # type: ignore[arg-type]


def test_the_stored_form() -> None:
    event = Logged("0199", 5, "animals:v0")
    line = b'{"artifact":"animals:v0","event":"logged","run":"0199","time_ns":5}'
    assert encode_event(event) == b"%s\nsha256:%s\n" % (line, hashlib.sha256(line).hexdigest().encode())
    assert decode_event(line + b"\n") == decode_event(encode_event(event)) == event
    with pytest.raises(DigestMismatchError):
        decode_event(encode_event(event).replace(b":v0", b":v1"))


def test_a_run_from_start_to_end(log: RunLog, store: MemoryStore) -> None:
    started = log.start(author="ann", name="first", job_type="train", config={"lr": 0.1}, tags=("a",))
    log.use(started.run, "animals:v0")
    log.use(started.run, "plants:v3")
    log.use(started.run, "animals:v0")
    log.log(started.run, "model:v1", is_new=True)
    running = log.get_run(started.run)
    assert (running.finished_ns, running.exit_code) == (None, None)
    log.finish(started.run, exit_code=3)
    run = log.get_run(started.run)
    assert (run.id, run.author, run.name, run.job_type) == (started.run, "ann", "first", "train")
    assert (run.config, run.tags) == ({"lr": 0.1}, ("a",))
    assert (run.inputs, run.outputs) == (("animals:v0", "plants:v3"), ("model:v1",))
    assert (run.started_ns, run.finished_ns, run.exit_code) == (
        NOON_NS,
        NOON_NS + 6_000_000_000,
        3,
    )  # reading looks at the clock
    assert sorted(store.iter_keys("runs/")) == [run_key("2026-11-23", started.run, number) for number in range(1, 7)]


def test_runs_come_newest_first_and_damaged_ones_are_left_out(log: RunLog, store: MemoryStore) -> None:
    ids = [log.start(author="a").run for _ in range(3)]
    late = RunLog(store, clock=Ticking(NOON_NS + 86_400 * 10**9), random=lambda size: b"x" * size)
    ids.append(late.start(author="a").run)
    store.create(run_key("2026-11-22", new_run_id(NOON_NS - 86_400 * 10**9, lambda size: b"y" * size), 1), b"{")
    assert [run.id for run in log.iter_runs()] == ids[::-1]


def test_events_of_many_threads_are_all_kept(log: RunLog) -> None:
    run = log.start(author="a").run
    threads = [threading.Thread(target=log.use, args=(run, f"c:v{number}")) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(log.get_run(run).inputs) == sorted(f"c:v{number}" for number in range(20))


class CountingStore(MemoryStore):
    """Counts requests."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def find_size(self, key: str) -> int | None:
        self.count += 1
        return super().find_size(key)

    def iter_children(self, prefix: str) -> Iterator[str]:
        self.count += 1
        return super().iter_children(prefix)

    def create(self, key: str, data: bytes) -> bool:
        self.count += 1
        return super().create(key, data)


def test_an_event_costs_one_request_and_the_first_of_a_process_two() -> None:
    store = CountingStore()
    logs = [RunLog(store, clock=Ticking(), random=counting_random()) for _ in range(2)]  # type: ignore[arg-type]
    run = logs[0].start(author="a").run
    for number in range(50):
        logs[0].use(run, f"c:v{number}")
    assert store.count == 1 + 50
    logs[1].use(run, "d:v0")
    assert store.count == 1 + 50 + 2
    logs[0].use(run, "d:v1")  # another has taken its number
    assert store.count == 1 + 50 + 2 + 2
    assert logs[0].get_run(run).inputs[-2:] == ("d:v0", "d:v1")


def test_what_is_missing_or_damaged(log: RunLog, store: MemoryStore) -> None:
    run = log.start(author="a").run
    with pytest.raises(NotFoundError):
        log.get_run(new_run_id(NOON_NS, lambda size: b"z" * size))
    for text in ("", "../../x", run.upper(), run + "0", str(uuid.UUID(int=0))):
        with pytest.raises(InvalidNameError):
            log.get_run(text)
    store.create(run_key(run_day(run), run, 2), b'{"event":"used"}')
    with pytest.raises(MalformedError, match=run):
        log.get_run(run)


def test_configuration_that_is_not_json(log: RunLog) -> None:
    with pytest.raises(UsageError):
        log.start(author="a", config={"x": object()})
    assert list(log.iter_runs()) == []
