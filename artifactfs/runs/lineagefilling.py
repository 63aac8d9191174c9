"""Filling the graph of runs and versions from the store: what has come since it was last looked at.

Used by `lineage`. Threading: a Filling may be shared by threads.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX, RUNS_PREFIX, log_prefix
from artifactfs.errors import ArtifactFSError, IndexCorruptError
from artifactfs.index.graph import Additions
from artifactfs.repository.records import Commit, DeleteCollection, DeleteVersion, Edit
from artifactfs.runs.events import Logged, find_start_ns, is_day, parse_day
from artifactfs.runs.gathering import Gathering
from artifactfs.runs.lease import GIVEN_UP_NS
from artifactfs.runs.lineagenodes import RunNode, VersionNode, decode_version, edges_of, encode_node, make_run_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from artifactfs.index.graph import Graph
    from artifactfs.model import Collection
    from artifactfs.repository.records import Record
    from artifactfs.repository.repository import Repository
    from artifactfs.runs.events import Event
    from artifactfs.runs.history import RunLog

ASKED_AT_ONCE: Final = 16
DAY_NS: Final = 86_400 * 10**9
MANY: Final = 8
"""From so many new runs of a day on, if they are a quarter of it, all of them are read at once."""
SETTLING_NS: Final = 60 * 10**9
"""The time of a directory says that nothing is new in it only when it is older than this: the directory of a run comes
before its first event, and file systems round times."""
_log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
_encode = msgspec.msgpack.Encoder().encode
_decode_mark = msgspec.msgpack.Decoder(tuple[int, str]).decode
_decode_children = msgspec.msgpack.Decoder(tuple[bytes, list[str]]).decode


class Filling:
    """Brings the graph of a repository up to date. May be shared by threads."""

    def __init__(self, repository: Repository, runs: RunLog, graph: Graph) -> None:
        self._repository = repository
        self._runs = runs
        self._graph = graph
        # When something came into the log of a collection, and where it ended then.
        self._ends: dict[str, tuple[bytes, int, str]] = {}

    def update(self) -> None:
        """Bring the graph up to date.

        Raises:
            IndexCorruptError: it was damaged, and is empty now.
            ArtifactFSError: the store cannot be read.
        """
        gathering = Gathering(self._graph)
        due = [name for name in self._list_children(COLLECTIONS_PREFIX, gathering) if self._may_have_changed(name)]
        for stamp, state in self._map(self._load, due):
            if state is not None:
                self._update_collection(state, stamp, gathering)
        unfinished = list(self._graph.find_open().items())
        changed = self._map(self._has_changed, unfinished)
        self._add_runs((run for (run, _), is_new in zip(unfinished, changed, strict=True) if is_new), gathering)
        days = [day for day in self._list_children(RUNS_PREFIX, gathering) if is_day(day)]
        stamps = {day: self._find_stamp(f"{RUNS_PREFIX}{day}/") for day in days}
        wanted = [day for day in days if self._is_due(day, stamps[day])]
        for day, (ids, resumed) in zip(wanted, self._map(self._runs.list_day, wanted), strict=True):
            self._update_day(day, stamps[day], ids, resumed, gathering)
        gathering.flush()

    def list_days(self) -> list[str]:
        """Return the days on which runs began, in order."""
        gathering = Gathering(self._graph)
        days = [day for day in self._list_children(RUNS_PREFIX, gathering) if is_day(day)]
        gathering.flush()
        return days

    def _list_children(self, prefix: str, gathering: Gathering) -> list[str]:
        """Return what `iter_children` yields, in order; from memory when nothing has come since."""
        stamp = self._find_stamp(prefix)
        mark = self._graph.find_mark(f"children {prefix}") if stamp else None
        if mark is not None:
            seen, names = _decode_children(mark)
            if seen == stamp:
                return names
        names = sorted(self._repository.store.iter_children(prefix))
        if stamp:
            gathering.add(Additions(marks={f"children {prefix}": _encode((stamp, names))}))
        return names

    # Collections.

    def _may_have_changed(self, name: str) -> bool:
        """Return False only where nothing has come into the log of a collection since it ended where the graph does."""
        stamp = self._find_stamp(log_prefix(name))
        return not stamp or self._ends.get(name) != (stamp, *self._find_end(name))

    def _find_end(self, name: str) -> tuple[int, str]:
        """Return number and digest of the last record of a collection that is in the graph."""
        mark = self._graph.find_mark(f"collection {name}")
        return _decode_mark(mark) if mark else (0, "")

    def _load(self, name: str) -> tuple[bytes, Collection | None]:
        """Return the state of a collection, and when something came into its log before that."""
        stamp = self._find_stamp(log_prefix(name))
        try:
            return stamp, self._repository.load_state(name)
        except ArtifactFSError as error:
            _log.warning("the lineage of %s is not known: %s", name, error)
            return stamp, None

    def _update_collection(self, state: Collection, stamp: bytes, gathering: Gathering) -> None:
        name, (seq, head) = state.name, self._find_end(state.name)
        if (seq, head) == (state.seq, state.head):
            self._ends[name] = stamp, seq, head
            return
        try:
            records = list(self._repository.log.iter_records(name, seq + 1))
        except ArtifactFSError as error:
            _log.warning("the lineage of %s is not known: %s", name, error)
            return
        self._ends[name] = stamp, state.seq, state.head
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
                additions.edges += edges_of(record, record.body, f"{name}:v{record.body.version}", own)
        additions.nodes |= {node: encode_node(value) for node, value in known.items()}
        gathering.add(additions)

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
            found = decode_version(value)
        if isinstance(body, Edit):
            known[node] = msgspec.structs.replace(found, tags=body.tags)
        else:
            known[node] = msgspec.structs.replace(found, is_deleted=True)
        return True

    # Runs.

    def _has_changed(self, unfinished: tuple[str, int]) -> bool:
        """Return whether a run has more events than were seen, or is to be given up."""
        run, seen = unfinished
        if self._runs.has_event(run, seen + 1):
            return True
        now_ns = self._repository.clock.now_ns()
        if now_ns - find_start_ns(run) <= GIVEN_UP_NS:
            return False
        try:
            return now_ns - self._runs.get_event(run, seen).time_ns > GIVEN_UP_NS
        except ArtifactFSError:
            return False

    def _is_due(self, day: str, stamp: bytes) -> bool:
        """Return whether a day is to be listed: something came; in a bucket, which does not say so, seldom an old one.

        What comes late leaves a note on the day on which it does.
        """
        if not self._repository.is_remote:
            return self._graph.find_mark(f"day {day}") != stamp
        mark = self._graph.find_mark(f"listed {day}")
        if mark is None:
            return True
        listed_ns = int(mark)
        age_ns = listed_ns - parse_day(day)
        return age_ns < 2 * DAY_NS or self._repository.clock.now_ns() - listed_ns > age_ns // 4

    def _update_day(
        self, day: str, stamp: bytes, ids: list[str], resumed: dict[str, str], gathering: Gathering
    ) -> None:
        known = self._graph.find_values(ids)
        unknown = [run for run in ids if run not in known]
        if len(unknown) > max(MANY, len(ids) // 4):
            self._add_day(day, unknown, gathering)
        else:
            self._add_runs(unknown, gathering)
        new = {name: run for name, run in resumed.items() if self._graph.find_mark(name) is None}
        self._add_runs(sorted(set(new.values())), gathering)
        marks = dict.fromkeys(new, b"") | ({f"day {day}": stamp} if stamp else {})
        if self._repository.is_remote:
            marks[f"listed {day}"] = b"%d" % self._repository.clock.now_ns()
        gathering.add(Additions(marks=marks))

    def _map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Apply a function to items, to many at once where each means a request to a store far away."""
        if not self._repository.is_remote or len(items) < 2:
            return [function(item) for item in items]
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 (costs local commands 8 ms)

        with ThreadPoolExecutor(ASKED_AT_ONCE, "runs") as threads:
            return list(threads.map(function, items))

    def _find_stamp(self, prefix: str) -> bytes:
        """Return what changes when a name comes directly below a prefix, or b"" where nothing says it for certain."""
        find: Any = getattr(self._repository.store, "find_stamp", None)
        stamp: int | None = find(prefix) if find is not None else None
        if stamp is None or stamp + SETTLING_NS > self._repository.clock.now_ns():
            return b""
        return str(stamp).encode()

    def _add_runs(self, runs: Iterable[str], gathering: Gathering) -> None:
        for run in runs:
            self._add_run(gathering, run)

    def _add_day(self, day: str, runs: list[str], gathering: Gathering) -> None:
        """Add most of the runs of a day, whose events are read at once."""
        left = set(runs)
        for run, events in self._runs.iter_histories(day, frozenset(runs)):
            left.discard(run)
            self._add_run(gathering, run, events)
        self._add_runs(left, gathering)  # without any event yet

    def _add_run(self, gathering: Gathering, run: str, found: list[Event] | ArtifactFSError | None = None) -> None:
        additions = Additions()
        try:
            if isinstance(found, ArtifactFSError):
                raise found
            events = list(self._runs.iter_events(run)) if found is None else found
            state = self._runs.fold(run, events)
        except ArtifactFSError as error:
            _log.warning("the run %s is left out: %s", run, error)
            gathering.add(Additions({run: encode_node(RunNode("", "", "", "", 0, None, "lost"))}))
            return
        is_final = state.has_ended or (state.state == "lost" and self._runs.find_silence_ns(state) > GIVEN_UP_NS)
        additions.nodes[run] = encode_node(make_run_node(state, is_final=is_final))
        additions.edges += [(artifact, run) for artifact in state.inputs]
        for event in events[1:]:
            # What it read, and then found to exist, it has not made.
            if isinstance(event, Logged) and (event.is_new or event.artifact not in state.inputs):
                additions.edges.append((run, event.artifact))
        if is_final:
            additions.closed.add(run)
        else:
            additions.opened[run] = len(events)
        gathering.add(additions)
