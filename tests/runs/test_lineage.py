"""Lineage: the graph follows from the store alone, and is brought up to date by what is new."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import log_key, run_key
from artifactfs.index.graph import Additions
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.repository import Repository
from artifactfs.runs import gathering
from artifactfs.runs import lineagefilling as module
from artifactfs.runs.acyclic import find_cycles
from artifactfs.runs.drawing import draw_mermaid, draw_svg
from artifactfs.runs.events import find_day, new_run_id, run_day
from artifactfs.runs.history import RunLog
from artifactfs.runs.lease import GIVEN_UP_NS
from artifactfs.runs.lineage import Lineage, RunNode, VersionNode, open_lineage
from artifactfs.testing.repositories import commit_files, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path) as repository:
        yield repository


@pytest.fixture
def runs(repository: Repository) -> RunLog:
    return RunLog(repository.store, clock=repository.clock, random=os.urandom)


@pytest.fixture
def lineage(repository: Repository, runs: RunLog) -> Iterator[Lineage]:
    with open_lineage(repository, runs) as lineage:
        yield lineage


def commit(repository: Repository, name: str, run: str | None = None, *inputs: str, base: int | None = None) -> str:
    options = CommitOptions(run=run, inputs=inputs, base=base)
    return f"{name}:{commit_files(repository, name, {b'f': os.urandom(8)}, options).name}"


def step(repository: Repository, runs: RunLog, name: str, inputs: list[str], outputs: list[str]) -> str:
    """Record a whole run that reads and makes versions, and return its id."""
    run = runs.start(author="a", name=name).run
    for artifact in inputs:
        runs.use(run, artifact)
    for collection in outputs:
        runs.log(run, commit(repository, collection, run, *inputs), is_new=True)
    runs.finish(run, exit_code=0)
    return run


def test_three_steps(repository: Repository, runs: RunLog, lineage: Lineage) -> None:
    prepare = step(repository, runs, "prepare", [], ["data"])
    train = step(repository, runs, "train", ["data:v0"], ["model"])
    evaluate = step(repository, runs, "evaluate", ["data:v0", "model:v0"], ["report"])
    up = lineage.find("report:v0", "up")
    assert up.distances == {"report:v0": 0, evaluate: 1, "data:v0": 2, "model:v0": 2, prepare: 3, train: 3}
    assert lineage.find("data:v0", "down").distances == {
        "data:v0": 0, train: 1, evaluate: 1, "model:v0": 2, "report:v0": 2,
    }  # fmt: skip
    assert lineage.find(train, "up").distances == {train: 0, "data:v0": 1, prepare: 2}
    assert lineage.find("report:v0", "up", depth=1).distances == {"report:v0": 0, evaluate: 1}
    node = up.nodes[train]
    assert isinstance(node, RunNode)
    assert (node.name, node.state) == ("train", "finished")
    assert isinstance(up.nodes["model:v0"], VersionNode)


def test_the_logs_alone_say_what_outputs_were_made_from(repository: Repository, lineage: Lineage) -> None:
    commit(repository, "data")
    lost = "01a20a51-331d-7f0e-b627-4f61c62f1334"
    commit(repository, "model", lost, "data:v0")
    found = lineage.find("model:v0", "up")
    assert found.distances == {"model:v0": 0, lost: 1, "data:v0": 2}
    assert found.nodes[lost] is None


def test_without_a_run_versions_lead_to_versions(repository: Repository, lineage: Lineage) -> None:
    commit(repository, "data")
    commit(repository, "data", base=0)
    commit(repository, "other", None, "data:v1")
    assert lineage.find("other:v0", "up").distances == {"other:v0": 0, "data:v1": 1, "data:v0": 2}


def test_what_a_run_records_later_is_seen(repository: Repository, runs: RunLog, lineage: Lineage) -> None:
    commit(repository, "data")
    commit(repository, "data")
    run = runs.start(author="a").run
    assert list(lineage.find(run, "up").distances) == [run]
    for number in range(2):
        runs.use(run, f"data:v{number}")
        assert run in lineage.find(f"data:v{number}", "down").distances
    node = lineage.find(run, "up").nodes[run]
    assert isinstance(node, RunNode)
    assert node.state == "running"
    runs.finish(run, exit_code=2)
    node = lineage.find(run, "up").nodes[run]
    assert isinstance(node, RunNode)
    assert node.state == "failed"


def test_a_run_that_goes_on_after_its_end_is_seen(repository: Repository, runs: RunLog, lineage: Lineage) -> None:
    commit(repository, "data")
    commit(repository, "data")
    run = step(repository, runs, "train", ["data:v0"], [])
    assert run in lineage.find("data:v0", "down").distances
    for number in range(2):  # each time that it is resumed
        runs.resume(runs.get_run(run), author="a")
        node = lineage.find(run, "up").nodes[run]
        assert isinstance(node, RunNode)
        assert node.state == "running"
        runs.use(run, f"data:v{number}")
        assert run in lineage.find(f"data:v{number}", "down").distances
        runs.finish(run, exit_code=number)
        node = lineage.find(run, "up").nodes[run]
        assert isinstance(node, RunNode)
        assert node.state == ("failed" if number else "finished")
    assert list(runs.iter_ids()) == [run]


def test_a_day_is_listed_again_until_it_is_settled(
    repository: Repository, runs: RunLog, lineage: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str | None] = []
    original = RunLog.list_day
    monkeypatch.setattr(RunLog, "list_day", lambda self, day: listed.append(day) or original(self, day))
    step(repository, runs, "one", [], ["a"])
    lineage.update()
    lineage.update()
    assert len(listed) == 2
    monkeypatch.setattr(module, "SETTLING_NS", -(10**12))
    lineage.update()
    lineage.update()
    assert len(listed) == 3
    run = step(repository, runs, "two", ["a:v0"], [])
    assert run in lineage.find("a:v0", "down").distances


class Shifted:
    """The time, or a later one."""

    shift = 0

    def now_ns(self) -> int:
        return time.time_ns() + self.shift

    def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture
def clock() -> Shifted:
    return Shifted()


@pytest.fixture
def later(tmp_path: Path, clock: Shifted, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """Yield a repository with a clock that a test sets. Times of directories are not those of that clock."""
    monkeypatch.setattr(module, "SETTLING_NS", 10**18)
    with make_repository(tmp_path, clock=clock) as repository:
        yield repository


def test_a_run_that_was_lost_long_ago_is_asked_for_no_more(
    later: Repository, clock: Shifted, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, other = (RunLog(later.store, clock=clock, random=os.urandom) for _ in range(2))
    commit(later, "data")
    lost, alive = (runs.start(author="a").run for _ in range(2))
    asked: list[str] = []
    original = RunLog.has_event
    monkeypatch.setattr(RunLog, "has_event", lambda self, run, number: asked.append(run) or original(self, run, number))
    with open_lineage(later, runs) as lineage:
        lineage.update()
        asked.clear()
        lineage.update()
        assert sorted(asked) == sorted([lost, alive])
        clock.shift = GIVEN_UP_NS // 2
        runs.renew(alive, started_ns=clock.now_ns())
        clock.shift = GIVEN_UP_NS + 10**9
        lineage.update()
        asked.clear()
        node = lineage.find(lost, "up").nodes[lost]
        assert asked == [alive]
        assert isinstance(node, RunNode)
        assert node.state == "lost"
        for log, number in ((other, 0), (runs, 1)):  # its machine was asleep
            clock.shift += GIVEN_UP_NS + 10**9
            commit(later, "data")
            lineage.update()
            asked.clear()
            lineage.update()
            assert asked == []
            log.use(lost, f"data:v{number}")
            assert lost in lineage.find(f"data:v{number}", "down").distances


def test_old_days_of_a_bucket_are_seldom_listed(
    later: Repository, clock: Shifted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Repository, "is_remote", property(lambda _: True))
    listed: list[str] = []
    original = RunLog.list_day
    monkeypatch.setattr(RunLog, "list_day", lambda self, day: listed.append(day) or original(self, day))
    runs = RunLog(later.store, clock=clock, random=os.urandom)
    commit(later, "data")
    start_ns = clock.now_ns() - 100 * module.DAY_NS
    old, late = (runs.start(author="a", run=new_run_id(start_ns, os.urandom)).run for _ in range(2))
    today = find_day(clock.now_ns())
    with open_lineage(later, runs) as lineage:
        lineage.update()
        assert set(listed) == {run_day(old), today}
        listed.clear()
        runs.use(late, "data:v0")
        assert late in lineage.find("data:v0", "down").distances
        new = runs.start(author="a", run=new_run_id(start_ns, os.urandom)).run
        runs.use(new, "data:v0")
        assert new in lineage.find("data:v0", "down").distances
        assert set(listed) == {today}
        clock.shift = 24 * module.DAY_NS
        lineage.update()
        assert run_day(old) not in listed
        clock.shift = 26 * module.DAY_NS
        lineage.update()
        assert run_day(old) in listed


def test_a_collection_is_loaded_again_when_something_came_into_its_log(
    repository: Repository, runs: RunLog, lineage: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    step(repository, runs, "one", [], ["a", "b"])
    before = lineage.find("a:v0", "up")
    loaded: list[str] = []
    original = repository.load_state
    monkeypatch.setattr(repository, "load_state", lambda name: loaded.append(name) or original(name))
    lineage.update()
    assert loaded == ["a", "b"]  # what came a moment ago may not be all
    monkeypatch.setattr(module, "SETTLING_NS", -(10**12))
    lineage.update()
    loaded.clear()
    lineage.update()
    assert loaded == []
    commit(repository, "b", None, "a:v0")
    loaded.clear()
    assert "b:v1" in lineage.find("a:v0", "down").distances
    assert loaded == ["b"]
    with open_lineage(repository, runs) as other:
        other.rebuild()
    loaded.clear()
    assert lineage.find("a:v0", "up") == before
    assert loaded == []
    lineage._graph.clear()  # somebody else found that it was damaged
    assert lineage.find("a:v0", "up") == before
    assert loaded == ["a", "b"]


def test_deleted_versions_stay_and_say_so(repository: Repository, runs: RunLog, lineage: Lineage) -> None:
    step(repository, runs, "one", [], ["data", "data"])
    step(repository, runs, "two", ["data:v0"], ["model"])
    repository.append("data", lambda state: changes.delete_version(state, number=0, force=True))
    found = lineage.find("model:v0", "up")
    assert "data:v0" in found.distances
    node = found.nodes["data:v0"]
    assert isinstance(node, VersionNode)
    assert node.is_deleted
    repository.append("data", changes.delete_collection)
    node = lineage.find("data:v1", "up").nodes["data:v1"]
    assert isinstance(node, VersionNode)
    assert node.is_deleted


def test_rebuilding_gives_the_same(repository: Repository, runs: RunLog, lineage: Lineage) -> None:
    for number in range(5):
        step(repository, runs, "r", [f"c:v{number - 1}"] if number else [], ["c"])
    before = lineage.find("c:v4", "up")
    lineage.rebuild()
    assert lineage.find("c:v4", "up") == before
    assert len(before.distances) == 10


class ManyStore:
    """Counts what is read one by one, and what at once."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.single: list[str] = []
        self.many = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def read(self, key: str) -> bytes:
        self.single.append(key)
        return self._store.read(key)  # type: ignore[attr-defined, no-any-return]

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        self.many += 1
        return map(self._store.read, keys)  # type: ignore[attr-defined]


def test_many_new_runs_of_a_day_are_read_at_once(
    repository: Repository, runs: RunLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = commit(repository, "data")
    ids = [step(repository, runs, f"run {number}", [data], []) for number in range(20)]
    damaged, gap, started = ids[3], ids[4], runs.start(author="a", name="goes on").run
    repository.store.delete([run_key(run_day(damaged), damaged, 2), run_key(run_day(gap), gap, 2)])
    repository.store.create(run_key(run_day(damaged), damaged, 2), b"{}")
    store = ManyStore(repository.store)
    log = RunLog(store, clock=repository.clock, random=os.urandom)  # type: ignore[arg-type]
    with open_lineage(repository, log) as lineage:
        at_once = lineage.find(data, "down")
        assert store.many == 1
        assert store.single == []
        monkeypatch.setattr(module, "MANY", 1 << 30)
        lineage.rebuild()
        assert store.many == 1
        one_by_one = lineage.find(data, "down")
    assert at_once.distances == one_by_one.distances
    assert at_once.nodes == one_by_one.nodes
    assert set(at_once.nodes) == {data, *ids} - {damaged, gap}
    assert started not in at_once.nodes


def test_many_additions_are_one_transaction(
    repository: Repository, runs: RunLog, lineage: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        step(repository, runs, f"run {number}", [], [f"c{number}"])
    times: list[Additions] = []
    original = lineage._graph.add
    monkeypatch.setattr(lineage._graph, "add", lambda more: times.append(more) or original(more))
    lineage.update()
    assert len(times) == 1  # each waits for the disk
    monkeypatch.setattr(gathering, "LARGE", 10)
    before = lineage.find("c3:v0", "up")
    lineage.rebuild()
    assert len(times) > 2
    assert lineage.find("c3:v0", "up") == before


def test_what_is_said_later_of_a_run_counts() -> None:
    class Sink:
        def add(self, more: Additions) -> None:
            self.added = more

    sink = Sink()
    gathered = gathering.Gathering(sink)  # type: ignore[arg-type]
    for more in (Additions(opened={"a": 1}, closed={"b"}), Additions(opened={"b": 2}, closed={"a"})):
        gathered.add(more)
    gathered.flush()
    assert sink.added.closed == {"a"}
    assert sink.added.opened["b"] == 2


def test_a_damaged_log_leaves_out_its_collection_alone(repository: Repository, runs: RunLog, lineage: Lineage) -> None:
    for name in ("a", "b", "b"):
        commit(repository, name)
    record = os.path.join(repository.location, log_key("b", 1))
    os.chmod(record, 0o600)
    with open(record, "wb") as file:
        file.write(b"{}")
    commit(repository, "a", None, "a:v0")
    assert lineage.find("a:v0", "down").distances == {"a:v0": 0, "a:v1": 1}


def test_a_log_that_was_cut_is_read_again(repository: Repository, runs: RunLog, lineage: Lineage) -> None:
    commit(repository, "a")
    commit(repository, "a")
    lineage.update()
    os.unlink(os.path.join(repository.location, log_key("a", 2)))
    with make_repository(os.path.dirname(repository.location), use_index=False) as other:
        other.witness.forget("a")  # as `artifactfs log a --accept` does
        commit(other, "a", None, "b:v7")
        with open_lineage(other, runs) as again:
            assert "b:v7" in again.find("a:v1", "up").distances


def test_mermaid() -> None:
    nodes = {"a:v0": VersionNode("dataset", 0, "x"), "r": RunNode('t"<', "", "", "x", 0, None, "finished")}
    text = 'flowchart LR\n    n0["a:v0"]\n    n1(["t#quot;&lt;"])\n    n0 --> n1\n'
    assert draw_mermaid(dict(nodes), [("a:v0", "r"), ("a:v0", "r")]) == text
    assert draw_mermaid(dict(nodes), [("a:v0", "r"), ("r", "a:v0")]) == text + "    n1 -. cycle .-> n0\n"


def test_svg_is_xml_without_overlaps_even_with_cycles(repository: Repository, runs: RunLog, lineage: Lineage) -> None:
    import xml.etree.ElementTree as ET

    step(repository, runs, "<prepare & co>", [], ["data"])
    for number in range(4):
        step(repository, runs, f"train {number}", ["data:v0"], ["model"])
    last = step(repository, runs, "evaluate", ["data:v0", *(f"model:v{number}" for number in range(4))], ["report"])
    runs.use(last, "report:v0")
    lineage.rebuild()
    found = lineage.find("report:v0", "up")
    tree = ET.fromstring(draw_svg(found.nodes, found.edges, start="report:v0"))
    name = "{http://www.w3.org/2000/svg}"
    boxes = [
        tuple(float(box.attrib[each]) for each in ("x", "y", "width", "height")) for box in tree.iter(f"{name}rect")
    ]
    assert len(boxes) == len(found.nodes) == 12
    assert len(list(tree.iter(f"{name}path"))) == len(found.edges) + 1
    for number, (x, y, width, height) in enumerate(boxes):
        assert x >= 0
        assert x + width <= float(tree.attrib["width"])
        assert y + height <= float(tree.attrib["height"])
        for other in boxes[:number]:
            apart_x = x + width <= other[0] or other[0] + other[2] <= x
            assert apart_x or y + height <= other[1] or other[1] + other[3] <= y
    assert any("<prepare & co>" in (text.text or "") for text in tree.iter(f"{name}text"))


def test_a_run_that_reads_what_it_has_made_is_not_its_own_ancestor(
    repository: Repository, runs: RunLog, lineage: Lineage
) -> None:
    commit(repository, "data")
    run = runs.start(author="a").run
    runs.use(run, "data:v0")
    runs.log(run, commit(repository, "model", run, "data:v0"), is_new=True)
    runs.use(run, "model:v0")
    # As earlier releases stated it.
    runs.log(run, commit(repository, "zoo", run, "data:v0", "model:v0"), is_new=True)
    runs.log(run, commit(repository, "animals", run, "data:v0", "model:v0", base=None), is_new=True)
    assert runs.get_run(run).inputs == ("data:v0",)
    for name in ("zoo:v0", "animals:v0"):
        found = lineage.find(name, "up")
        assert found.distances == {name: 0, run: 1, "model:v0": 1, "data:v0": 2}
        assert set(found.edges) == {(run, name), ("model:v0", name), (run, "model:v0"), ("data:v0", run)}
    assert set(lineage.find(run, "up").distances) == {run, "data:v0"}
    repository.append("model", lambda state: changes.delete_version(state, number=0, force=True))
    lineage.rebuild()
    for name in ("zoo:v0", "animals:v0"):
        assert lineage.find(name, "up").distances == {name: 0, run: 1, "data:v0": 2}
    assert set(lineage.find(run, "down").distances) == {run, "model:v0", "zoo:v0", "animals:v0"}


def test_what_a_run_read_and_then_found_to_exist_it_has_not_made(
    repository: Repository, runs: RunLog, lineage: Lineage
) -> None:
    commit(repository, "data")
    run = runs.start(author="a").run
    runs.use(run, "data:v0")
    runs.log(run, "data:v0", is_new=False)
    assert lineage.find(run, "up").edges == (("data:v0", run),)
    assert lineage.find(run, "down").edges == ()
    assert (runs.get_run(run).outputs, runs.get_run(run).made) == (("data:v0",), ())


def test_the_base_of_a_version_that_a_run_makes_is_an_input(repository: Repository, lineage: Lineage) -> None:
    run = "01a20a51-331d-7f0e-b627-4f61c62f1334"
    commit(repository, "data")
    commit(repository, "data", run, base=0)
    commit(repository, "data", run, base=1)
    versions = repository.get_collection("data").versions
    assert [versions[number].inputs for number in (1, 2)] == [("data:v0",), ()]
    assert lineage.find("data:v2", "up").distances == {"data:v2": 0, run: 1, "data:v1": 1, "data:v0": 2}


def test_cycles_are_found_in_any_graph() -> None:
    import random

    chosen = random.Random(7)
    for _ in range(200):
        names = [str(number) for number in range(chosen.randrange(1, 9))]
        edges = {(chosen.choice(names), chosen.choice(names)) for _ in range(chosen.randrange(12))}
        reached = {name: {name} for name in names}
        for _ in names:
            for one, two in edges:
                reached[one] |= reached[two]
        groups = {tuple(two for two in names if two in reached[one] and one in reached[two]) for one in names}
        assert find_cycles(names, edges) == sorted(list(group) for group in groups if len(group) > 1)
