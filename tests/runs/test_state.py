"""What a run is, computed from its events, the time, and what its host sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import AlreadyExistsError, ArtifactFSError, DigestMismatchError, NotFoundError
from artifactfs.runs.events import Circumstances, Event, Process, run_day
from artifactfs.runs.history import RunLog
from artifactfs.runs.lease import LONGEST_NS, SHORTEST_NS, Heartbeat, find_lease_ns
from artifactfs.runs.machine import Environment, describe_environment, find_packages
from artifactfs.runs.markers import FORGET_NS, add_marker, note_end, settle_marked
from artifactfs.runs.processes import describe_process, has_ended

START_NS = 1_795_435_200_000_000_000
MINUTE_NS = 60 * 10**9


class Clock:
    """A clock that a test sets."""

    now = START_NS

    def now_ns(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def log(store: MemoryStore, clock: Clock) -> RunLog:
    return RunLog(store, clock=clock, random=os.urandom, host="here")


def ended_process() -> Process:
    """Return a process of this host that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = describe_process(host="here", user="ann", pid=child.pid)
    child.communicate(b"\n")
    return found


def test_a_run_is_lost_when_its_lease_has_run_out_and_found_when_it_is_heard_of(log: RunLog, clock: Clock) -> None:
    run = log.start(author="a").run
    clock.now += SHORTEST_NS
    assert log.get_run(run).state == "running"
    clock.now += 1
    lost = log.get_run(run)
    assert (lost.state, lost.finished_ns, lost.seen_ns, lost.has_ended) == ("lost", None, START_NS, False)
    log.renew(run, started_ns=START_NS)
    assert log.get_run(run).state == "running"


def test_every_event_renews_the_lease(log: RunLog, clock: Clock) -> None:
    run = log.start(author="a").run
    for _ in range(3):
        clock.now += SHORTEST_NS
        log.use(run, "a:v0")
    assert log.get_run(run).state == "running"


def test_leases_grow_with_the_age_of_a_run(log: RunLog, clock: Clock) -> None:
    assert [find_lease_ns(age) for age in (0, 40 * MINUTE_NS, 10**18)] == [SHORTEST_NS, 10 * MINUTE_NS, LONGEST_NS]
    run = log.start(author="a").run
    clock.now += 40 * MINUTE_NS
    assert log.renew(run, started_ns=START_NS) == 10 * MINUTE_NS
    clock.now += 10 * MINUTE_NS
    assert log.get_run(run).state == "running"


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (3, "failed")])
def test_an_end_is_final_whatever_children_record_later(log: RunLog, clock: Clock, code: int, state: str) -> None:
    run = log.start(author="a").run
    log.finish(run, exit_code=code)
    clock.now += 10**15
    log.log(run, "late:v0", is_new=True)
    found = log.get_run(run)
    assert (found.state, found.exit_code, found.outputs, found.has_ended) == (state, code, ("late:v0",), True)


def test_the_host_of_a_process_that_is_gone_marks_the_run_as_crashed(log: RunLog) -> None:
    run = log.start(author="a", circumstances=Circumstances(ended_process())).run
    found = log.get_run(run)
    assert (found.state, found.is_marked, found.has_ended) == ("crashed", False, False)
    log.mark_crashed(run)
    marked = log.get_run(run)
    assert (marked.state, marked.is_marked, marked.has_ended) == ("crashed", True, True)
    assert [type(event).__name__ for event in log.iter_events(run)] == ["Started", "Crashed"]


def test_other_hosts_do_not_judge(store: MemoryStore, clock: Clock) -> None:
    for host in ("there", ""):
        other = RunLog(store, clock=clock, random=os.urandom, host=host)
        run = other.start(author="a", circumstances=Circumstances(ended_process())).run
        assert other.get_run(run).state == "running"


def test_what_counts_as_the_same_process() -> None:
    mine = describe_process(host="here", user="ann")
    assert not has_ended(mine, host="here")
    changed = {"start": mine.start + 1, "pid": 2**22 + 5}
    for field, value in changed.items():
        assert has_ended(Process(**{**_fields(mine), field: value}), host="here"), field
    # Another boot, namespace or host: nothing can be said.
    for field, value in {"boot": "other", "namespace": 1, "host": "there", "start": 0}.items():
        assert not has_ended(Process(**{**_fields(mine), "pid": 2**22 + 5, field: value}), host="here"), field


def _fields(process: Process) -> dict[str, object]:
    return {name: getattr(process, name) for name in process.__struct_fields__}


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = describe_process(host="here", user="", pid=child.pid)
    assert not has_ended(process, host="here")
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(process, host="here")
    child.wait()


def test_a_resumed_run_runs_again_in_its_new_process(log: RunLog, clock: Clock) -> None:
    run = log.start(author="a", name="n", config={"lr": 1}).run
    log.finish(run, exit_code=1)
    here = describe_process(host="here", user="ann")
    log.resume(log.get_run(run), author="b", circumstances=Circumstances(here, directory="/new"))
    log.configure(run, {"epochs": 2})
    found = log.get_run(run)
    assert (found.state, found.exit_code, found.finished_ns, found.name) == ("running", None, None, "n")
    assert (found.config, found.circumstances.directory) == ({"lr": 1, "epochs": 2}, "/new")
    log.finish(run, exit_code=0)
    assert log.get_run(run).state == "finished"


def test_an_id_is_given_once(log: RunLog) -> None:
    run = log.start(author="a").run
    with pytest.raises(AlreadyExistsError, match=run):
        log.start(author="a", run=run)
    assert log.get_run(run).state == "running"


def test_what_is_given_later_counts_where_nothing_was_given(log: RunLog) -> None:
    run = log.start(author="a", name="first", tags=("a",), config={"x": 1}).run
    log.configure(run, {"x": 2}, tags=("b", "a"), name="second", notes="hm")
    log.configure(run, {}, notes="again")
    state = log.get_run(run)
    assert (state.name, state.notes, state.tags, state.config) == ("first", "hm", ("a", "b"), {"x": 2})


def test_a_run_knows_its_parent_and_its_children(log: RunLog) -> None:
    parent = log.start(author="a").run
    child = log.start(author="a", parent=parent).run
    assert (log.get_run(child).parent, log.get_run(parent).children) == (parent, (child,))
    elsewhere = "01a20a51-331d-7f0e-b627-4f61c62f1334"
    assert log.get_run(log.start(author="a", parent=elsewhere).run).parent == elsewhere
    assert elsewhere not in log.iter_ids()


def test_runs_are_found_by_id_beginning_and_name(log: RunLog, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    first = log.start(author="a", name="one").run
    clock.now += 86_400 * 10**9
    log.start(author="a", name="two")
    clock.now += 86_400 * 10**9
    log.start(author="a", name="two")
    assert log.find_run(first).id == log.find_run("one").id == log.find_run(first[:-2]).id == first
    for text in ("two", "three", "", "01", "ffff", "0000-", first[:8].replace("-", "") + "f"):
        with pytest.raises(NotFoundError):
            log.find_run(text)
    days: list[str] = []
    original = RunLog.iter_ids
    monkeypatch.setattr(RunLog, "iter_ids", lambda self, day=None: days.append(day) or original(self, day))
    assert log.find_run(first[:8]).id == log.find_run(first).id == first
    assert days == [run_day(first)]  # other days have no ids that begin so


def test_what_a_run_ran_with_is_stored_once(log: RunLog, store: MemoryStore) -> None:
    environment = describe_environment({}, release="1", path=sys.path)
    digest = log.keep_environment(environment)
    assert log.keep_environment(environment) == digest
    assert log.get_environment(digest) == environment
    assert len(list(store.iter_keys("runs/environment/"))) == 1
    assert any(package.startswith("pytest==") for package in environment.packages)
    assert environment.cpu_count > 0
    assert list(log.iter_runs()) == []  # it is not taken for a day of runs


def test_a_damaged_description_is_refused(log: RunLog, store: MemoryStore) -> None:
    store.create("runs/environment/" + "0" * 64, b"{}\n")
    with pytest.raises(DigestMismatchError):
        log.get_environment("sha256:" + "0" * 64)
    with pytest.raises(ArtifactFSError):
        log.get_environment("sha256:" + "1" * 64)
    assert log.get_environment(log.keep_environment(Environment())) == Environment()


def test_packages_are_those_that_are_found_first(tmp_path: Path) -> None:
    for folder, names in {
        "a": ["Some_Thing-1.0.dist-info", "x.py"],
        "b": ["some_thing-2.0.dist-info", "y-3.egg-info"],
    }.items():
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
    found = find_packages([str(tmp_path / "a"), str(tmp_path / "missing"), str(tmp_path / "b")])
    assert found == ("some-thing==1.0", "y==3")


def test_a_heartbeat_renews_until_it_is_stopped_and_outlives_errors() -> None:
    import threading

    beats: list[int] = []
    enough = threading.Event()

    def renew() -> int:
        beats.append(1)
        if len(beats) == 2:
            raise ArtifactFSError("the disk is full")
        if len(beats) >= 4:
            enough.set()
        return 1_000_000

    before = set(threading.enumerate())
    heartbeat = Heartbeat(renew, lease_ns=1_000_000)
    heartbeat.start()
    assert enough.wait(20)
    heartbeat.stop()
    count = len(beats)
    assert count >= 4
    assert set(threading.enumerate()) <= before


def test_a_heartbeat_that_failed_is_tried_again_before_the_lease_runs_out() -> None:
    class Waits:
        def __init__(self) -> None:
            self.asked: list[float] = []

        def wait(self, seconds: float) -> bool:
            self.asked.append(seconds)
            return len(self.asked) > 4

    beats: list[int] = []

    def renew() -> int:
        beats.append(1)
        if len(beats) in (2, 3):
            raise ArtifactFSError("the bucket does not answer")
        return 32 * 10**9

    heartbeat = Heartbeat(renew, lease_ns=16 * 10**9)
    heartbeat._stopped = waits = Waits()  # type: ignore[assignment]
    heartbeat._beat()
    assert waits.asked == [8, 16, 2, 2, 16]


def test_markers_find_crashed_runs_without_a_search(log: RunLog, tmp_path: Path) -> None:
    events: list[Event] = []
    dead = log.start(author="a", circumstances=Circumstances(ended_process())).run
    alive = log.start(author="a", circumstances=Circumstances(describe_process(host="here", user=""))).run
    done = log.start(author="a").run
    log.finish(done, exit_code=0)
    for run in (dead, alive, done, "not-a-run"):
        add_marker(str(tmp_path), run)
    settle_marked(log, str(tmp_path))
    events = list(log.iter_events(dead))
    assert type(events[-1]).__name__ == "Crashed"
    assert sorted(os.listdir(tmp_path / "running")) == sorted([alive, "not-a-run"])
    settle_marked(log, str(tmp_path / "nothing here"))


def test_an_end_that_could_not_be_recorded_is_recorded_later(log: RunLog, clock: Clock, tmp_path: Path) -> None:
    gone, silent, resumed = (
        log.start(author="a", circumstances=Circumstances(process)).run
        for process in (ended_process(), None, describe_process(host="here", user=""))
    )
    for run in (gone, silent, resumed):
        add_marker(str(tmp_path), run)
        note_end(str(tmp_path), run, exit_code=7, time_ns=START_NS + 5)
    add_marker(str(tmp_path), resumed)  # it goes on: what was noted counts no more
    clock.now += MINUTE_NS
    settle_marked(log, str(tmp_path))
    found = log.get_run(gone)
    assert (found.state, found.exit_code, found.finished_ns) == ("failed", 7, START_NS + 5)
    assert log.get_run(silent).state == log.get_run(resumed).state == "running"
    clock.now += SHORTEST_NS
    log.renew(resumed, started_ns=START_NS)
    settle_marked(log, str(tmp_path))
    assert (log.get_run(silent).state, log.get_run(resumed).state) == ("failed", "running")
    assert os.listdir(tmp_path / "running") == [resumed]


def test_what_ran_before_this_machine_was_started_is_marked_when_its_lease_has_run_out(
    log: RunLog, clock: Clock, tmp_path: Path
) -> None:
    mine = describe_process(host="here", user="ann")
    before, elsewhere = (
        log.start(author="a", circumstances=Circumstances(Process(**{**_fields(mine), **changed}))).run
        for changed in ({"boot": "an earlier one"}, {"boot": "another", "host": "there"})
    )
    for run in (before, elsewhere):
        add_marker(str(tmp_path), run)
    pins = tmp_path / "views" / before / "pins"
    pins.parent.mkdir(parents=True)
    pins.write_text("{}")
    pins.with_name("looked").write_bytes(b"a:v0\t3\tcat\n\0\0a:v1\t3\tdog\n\xff:v1\t-\t\n")
    settle_marked(log, str(tmp_path))
    assert (log.get_run(before).state, log.get_run(elsewhere).state) == ("running", "running")
    clock.now += SHORTEST_NS + 1
    assert log.get_run(before).state == "lost"  # who has no marker of it does not judge
    settle_marked(log, str(tmp_path))
    found = log.get_run(before)
    assert (found.state, found.is_marked, found.inputs) == ("crashed", True, ("a:v0",))
    assert [file.path for file in log.iter_files(before)] == ["cat"]
    assert log.get_run(elsewhere).state == "lost"
    assert (os.listdir(tmp_path / "running"), os.listdir(tmp_path / "views")) == ([elsewhere], [])
    clock.now += FORGET_NS
    settle_marked(log, str(tmp_path))
    assert os.listdir(tmp_path / "running") == []


def test_a_run_that_was_taken_for_crashed_goes_on_when_it_is_heard_of(log: RunLog) -> None:
    run = log.start(author="a", circumstances=Circumstances(describe_process(host="here", user=""))).run
    log.mark_crashed(run)
    assert log.get_run(run).state == "crashed"
    log.use(run, "a:v0")
    assert log.get_run(run).state == "running"
