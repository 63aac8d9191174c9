"""The graph of runs and versions: what each was made from, and what was made from it.

Two sources say it. A commit's record names the run that made the version and the inputs; the events of a run name what
it read and made. Everything is in the store; the graph in the index saves reading all of it, and is brought up to date
before each answer: new records of each collection, new runs, and new events of runs that had not ended.

Edges follow the data: a version to the run that read it, a run to the version that it made, and, where no run is known,
a version to the one that was made from it.

Used by the SDK and the command line. Threading: a Lineage may be shared by threads.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from msgspec import Struct

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX, RUNS_PREFIX
from artifactfs.errors import ArtifactFSError, IndexCorruptError, InvalidNameError
from artifactfs.index.graph import Additions, open_graph
from artifactfs.repository.records import Commit, DeleteCollection, DeleteVersion, Edit
from artifactfs.runs.acyclic import drop_own_inputs
from artifactfs.runs.events import Logged, is_day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Collection as SomeOf

    from artifactfs.index.graph import Direction as Direction  # noqa: PLC0414 (handed on)
    from artifactfs.index.graph import Graph, Walk
    from artifactfs.model import Collection
    from artifactfs.repository.records import Record
    from artifactfs.repository.repository import Repository
    from artifactfs.runs.events import Event
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.state import RunState

BATCH: Final = 2000
"""Runs that are added to the graph in one transaction."""
MANY: Final = 8
"""From so many new runs of a day on, if they are a quarter of it, all of them are read at once."""
SETTLING_NS: Final = 60 * 10**9
"""The time of a directory says that nothing is new in it only when it is older than this: the directory of a run comes
before its first event, and file systems round times."""
_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode


class VersionNode(Struct, frozen=True, array_like=True):
    """What the graph knows of a version."""

    type: str
    time_ns: int
    author: str
    run: str = ""
    tags: tuple[str, ...] = ()
    is_deleted: bool = False


class RunNode(Struct, frozen=True, array_like=True):
    """What the graph knows of a run; `state` is empty until it has ended, `parent` for one outside of any other."""

    name: str
    job_type: str
    project: str
    author: str
    started_ns: int
    finished_ns: int | None = None
    state: str = ""
    parent: str = ""


_decode_version = msgspec.msgpack.Decoder(VersionNode).decode
_decode_run = msgspec.msgpack.Decoder(RunNode).decode
_decode_mark = msgspec.msgpack.Decoder(tuple[int, str]).decode
_decode_children = msgspec.msgpack.Decoder(tuple[bytes, list[str]]).decode


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A part of the graph.

    Attributes:
        start: the node that was asked about: a run's id, or `NAME:vN`.
        nodes: what is known of each node, the nearest first, the start included; None when it is only named.
        distances: number of edges from the start.
        edges: pairs of names, along the data.
        is_cut: whether there was more than was asked for.
    """

    start: str
    nodes: dict[str, VersionNode | RunNode | None]
    distances: dict[str, int]
    edges: tuple[tuple[str, str], ...]
    is_cut: bool


class Lineage:
    """Answers from the graph. A context manager; may be shared by threads."""

    def __init__(self, repository: Repository, runs: RunLog, graph: Graph) -> None:
        self._repository = repository
        self._runs = runs
        self._graph = graph

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._graph.close()

    def find(
        self,
        node: str,
        direction: Direction,
        *,
        depth: int | None = None,
        limit: int | None = None,
        known: SomeOf[str] = (),
    ) -> Neighbourhood:
        """Return what a run or version was made from (`up`), or what was made from it (`down`).

        Args:
            node: the id of a run, or `NAME:vN`.
            direction: which.
            depth: how many edges to follow at most: from a version to the one that it was made from are two.
            limit: how many nodes to return at most.
            known: nodes that are not wanted again, and nothing beyond them.

        Raises:
            ArtifactFSError: the store cannot be read.
        """
        try:
            self.update()
            found = self._graph.walk(node, direction, depth=depth, limit=limit, known=known)
        except IndexCorruptError:
            self.update()  # the graph is empty now, and fills again
            found = self._graph.walk(node, direction, depth=depth, limit=limit, known=known)
        part = self._describe(node, found)
        made_by = {name: each.run for name, each in part.nodes.items() if isinstance(each, VersionNode) and each.run}
        return drop_own_inputs(part, made_by, upwards=direction == "up")

    def find_wider(self, shown: SomeOf[str], direction: Direction) -> set[str]:
        """Return those of some nodes where more is known in a direction than is among them.

        Raises:
            IndexCorruptError: the graph was damaged; it is empty now.
        """
        return self._graph.find_wider(shown, direction)

    def is_known(self, node: str) -> bool:
        """Return whether there is such a run, or was such a version."""
        return bool(self._graph.find_values([node]))

    def iter_runs(self, is_wanted: Callable[[RunNode], bool]) -> Iterator[str]:
        """Yield the ids of runs that are wanted, the newest first; also of those of which nothing is known for certain.

        Args:
            is_wanted: is given what the graph knows of a run; `state` is empty while it goes on.

        Raises:
            ArtifactFSError: the store cannot be read.
        """
        try:
            self.update()
        except IndexCorruptError:
            self.update()  # the graph is empty now, and fills again
        for day in sorted(filter(is_day, self._list_children(RUNS_PREFIX)), reverse=True):
            ids = sorted(self._runs.list_day(day)[0], reverse=True)
            values = self._graph.find_values(ids)
            for run in ids:
                node = _decode_run(values[run]) if run in values else None
                if node is None or not node.started_ns or is_wanted(node):
                    yield run

    def update(self) -> None:
        """Bring the graph up to date.

        Raises:
            IndexCorruptError: it was damaged, and is empty now.
            ArtifactFSError: the store cannot be read.
        """
        for name in self._list_children(COLLECTIONS_PREFIX):
            with suppress(InvalidNameError):
                self._update_collection(name)
        unfinished = self._graph.find_open()
        self._add_runs(run for run, seen in unfinished.items() if self._runs.has_event(run, seen + 1))
        for day in self._list_children(RUNS_PREFIX):
            if is_day(day):
                self._update_day(day)

    def rebuild(self) -> None:
        """Empty the graph and fill it from the store.

        Raises:
            ArtifactFSError: the store cannot be read.
        """
        self._graph.clear()
        self.update()

    def _describe(self, start: str, found: Walk) -> Neighbourhood:
        nodes = {name: self._decode(name, found.values.get(name)) for name in found.distances}
        return Neighbourhood(start, nodes, found.distances, tuple(found.edges), found.is_cut)

    def _decode(self, name: str, value: bytes | None) -> VersionNode | RunNode | None:
        if value is None:
            return None
        if ":" in name:
            return _decode_version(value)
        node = _decode_run(value)
        if not node.state:
            with suppress(ArtifactFSError):  # it has not ended: what it is depends on the time
                state = self._runs.get_run(name)
                return msgspec.structs.replace(node, state=state.state, finished_ns=state.finished_ns)
        return node

    # Collections.

    def _update_collection(self, name: str) -> None:
        try:
            state = self._repository.load_state(name)
        except ArtifactFSError as error:
            _log.warning("the lineage of %s is not known: %s", name, error)
            return
        mark = self._graph.find_mark(f"collection {name}")
        seq, head = _decode_mark(mark) if mark else (0, "")
        if (seq, head) == (state.seq, state.head):
            return
        records = list(self._repository.log.iter_records(name, seq + 1))
        if state.seq <= seq or (seq and records[0].previous != head):
            self._graph.clear()
            msg = f"the log of {name} is another than the one that was seen before"
            raise IndexCorruptError(msg, hint="run the same command again", subject=name)
        additions = Additions(marks={f"collection {name}": _encode((state.seq, state.head))})
        known: dict[str, VersionNode] = {}
        makers: dict[str, Collection] = {name: state}
        for record in records:
            self._add_record(known, record)
            if isinstance(record.body, Commit):
                own = frozenset(each for each in record.body.inputs if self._has_made(record.run, each, makers))
                additions.edges += _edges_of(record, record.body, f"{name}:v{record.body.version}", own)
        additions.nodes |= {node: _encode(value) for node, value in known.items()}
        self._graph.add(additions)

    def _add_record(self, known: dict[str, VersionNode], record: Record) -> None:
        body = record.body
        if isinstance(body, Commit):
            node = f"{record.collection}:v{body.version}"
            known[node] = VersionNode(body.type, record.time_ns, record.author, record.run or "", body.tags)
        elif isinstance(body, DeleteVersion | Edit):
            self._change(known, f"{record.collection}:v{body.version}", body)
        elif isinstance(body, DeleteCollection):
            # Which versions there were says the state; numbers begin at 0 and have no gaps.
            number = 0
            while self._change(known, f"{record.collection}:v{number}", body):
                number += 1

    def _has_made(self, run: str | None, artifact: str, makers: dict[str, Collection]) -> bool:
        """Return whether a run has made a version, as far as is known; `makers` keeps states by collection."""
        name, _, number = artifact.rpartition(":v")
        if run is None or not number.isdigit():
            return False
        if name not in makers:
            try:
                makers[name] = self._repository.load_state(name)
            except ArtifactFSError:
                return False
        version = makers[name].versions.get(int(number))
        return version is not None and version.run == run

    def _change(self, known: dict[str, VersionNode], node: str, body: DeleteVersion | DeleteCollection | Edit) -> bool:
        found = known.get(node)
        if found is None:
            value = self._graph.find_values([node]).get(node)
            if value is None:
                return False
            found = _decode_version(value)
        if isinstance(body, Edit):
            known[node] = msgspec.structs.replace(found, tags=body.tags)
        else:
            known[node] = msgspec.structs.replace(found, is_deleted=True)
        return True

    # Runs.

    def _list_children(self, prefix: str) -> list[str]:
        """Return what `iter_children` yields, in order; from memory when nothing has come since."""
        stamp = self._find_stamp(prefix)
        mark = self._graph.find_mark(f"children {prefix}") if stamp else None
        if mark is not None:
            seen, names = _decode_children(mark)
            if seen == stamp:
                return names
        names = sorted(self._repository.store.iter_children(prefix))
        if stamp:
            self._graph.add(Additions(marks={f"children {prefix}": _encode((stamp, names))}))
        return names

    def _update_day(self, day: str) -> None:
        stamp = self._find_stamp(f"{RUNS_PREFIX}{day}/")
        if stamp and self._graph.find_mark(f"day {day}") == stamp:
            return
        ids, resumed = self._runs.list_day(day)
        known = self._graph.find_values(ids)
        unknown = [run for run in ids if run not in known]
        if len(unknown) > max(MANY, len(ids) // 4):
            self._add_day(day, unknown)
        else:
            self._add_runs(unknown)
        new = {name: run for name, run in resumed.items() if self._graph.find_mark(name) is None}
        self._add_runs(sorted(set(new.values())))
        marks = dict.fromkeys(new, b"") | ({f"day {day}": stamp} if stamp else {})
        if marks:
            self._graph.add(Additions(marks=marks))

    def _find_stamp(self, prefix: str) -> bytes:
        """Return what changes when a name comes directly below a prefix, or b"" where nothing says it for certain."""
        find: Any = getattr(self._repository.store, "find_stamp", None)
        stamp: int | None = find(prefix) if find is not None else None
        if stamp is None or stamp + SETTLING_NS > self._repository.clock.now_ns():
            return b""
        return str(stamp).encode()

    def _add_runs(self, runs: Iterable[str]) -> None:
        additions, count = Additions(), 0
        for run in runs:
            self._add_run(additions, run)
            count += 1
            if count % BATCH == 0:
                self._graph.add(additions)
                additions = Additions()
        if count % BATCH:
            self._graph.add(additions)

    def _add_day(self, day: str, runs: list[str]) -> None:
        """Add most of the runs of a day, whose events are read at once."""
        additions, left = Additions(), set(runs)
        for count, (run, events) in enumerate(self._runs.iter_histories(day, frozenset(runs)), 1):
            left.discard(run)
            self._add_run(additions, run, events)
            if count % BATCH == 0:
                self._graph.add(additions)
                additions = Additions()
        for run in left:  # without any event yet
            self._add_run(additions, run)
        self._graph.add(additions)

    def _add_run(self, additions: Additions, run: str, found: list[Event] | ArtifactFSError | None = None) -> None:
        try:
            if isinstance(found, ArtifactFSError):
                raise found
            events = list(self._runs.iter_events(run)) if found is None else found
            state = self._runs.fold(run, events)
        except ArtifactFSError as error:
            _log.warning("the run %s is left out: %s", run, error)
            additions.nodes[run] = _encode(RunNode("", "", "", "", 0, None, "lost"))
            return
        additions.nodes[run] = _encode(_run_node(state, is_final=state.has_ended))
        additions.edges += [(artifact, run) for artifact in state.inputs]
        for event in events[1:]:
            # What it read, and then found to exist, it has not made.
            if isinstance(event, Logged) and (event.is_new or event.artifact not in state.inputs):
                additions.edges.append((run, event.artifact))
        if state.has_ended:
            additions.closed.add(run)
        else:
            additions.opened[run] = len(events)


def join_parts(
    parts: Iterable[Neighbourhood],
) -> tuple[dict[str, VersionNode | RunNode | None], list[tuple[str, str]]]:
    """Return the nodes and the edges of several parts, each once."""
    found = list(parts)
    nodes = {name: node for part in found for name, node in part.nodes.items()}
    return nodes, list(dict.fromkeys(edge for part in found for edge in part.edges))


def open_lineage(repository: Repository, runs: RunLog) -> Lineage:
    """Return the lineage of a repository; the caller closes it.

    Raises:
        IndexCorruptError, AccessDeniedError, StorageFullError: the index cannot be used.
    """
    return Lineage(repository, runs, open_graph(repository.state_directory, repository_id=repository.id))


def _edges_of(record: Record, body: Commit, node: str, own: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the edges that a commit states: through its run, if it has one, but for `own` versions of the run."""
    if record.run:
        yield record.run, node
        yield from ((artifact, node if artifact in own else record.run) for artifact in body.inputs)
    else:
        yield from ((artifact, node) for artifact in body.inputs)
    base = None if body.base is None else f"{record.collection}:v{body.base}"
    if base is not None and base not in body.inputs:
        yield base, node


def _run_node(state: RunState, *, is_final: bool) -> RunNode:
    return RunNode(
        state.name,
        state.job_type,
        state.project,
        state.author,
        state.started_ns,
        state.finished_ns,
        state.state if is_final else "",
        state.parent,
    )
