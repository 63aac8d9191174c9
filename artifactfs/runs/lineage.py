"""The graph of runs and versions: what each was made from, and what was made from it.

Two sources say it. A commit's record names the run that made the version and the inputs; the events of a run name what
it read and made. Everything is in the store; the graph in the index saves reading all of it, and is brought up to date
before each answer: new records of each collection, new runs, and new events of runs that had not ended.

Edges follow the data: a version to the run that read it, a run to the version that it made, and, where no run is known,
a version to the one that was made from it.

The nodes are those of `lineagenodes`; `lineagefilling` brings the graph up to date.

Used by the SDK and the command line. Threading: a Lineage may be shared by threads.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Self

import msgspec

from artifactfs.errors import ArtifactFSError, IndexCorruptError
from artifactfs.index.graph import open_graph
from artifactfs.runs.acyclic import drop_own_inputs
from artifactfs.runs.events import is_run_id
from artifactfs.runs.lineagefilling import Filling
from artifactfs.runs.lineagenodes import (
    Neighbourhood,
    RunNode,
    VersionNode,
    decode_node,
    decode_run,
    is_recorded,
    join_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Collection as SomeOf

    from artifactfs.index.graph import Graph
    from artifactfs.index.walking import Direction
    from artifactfs.repository.repository import Repository
    from artifactfs.runs.history import RunLog

__all__ = ["Direction", "Lineage", "Neighbourhood", "RunNode", "VersionNode", "join_parts", "open_lineage"]


class Lineage:
    """Answers from the graph. A context manager; may be shared by threads."""

    def __init__(self, repository: Repository, runs: RunLog, graph: Graph) -> None:
        self._repository = repository
        self._runs = runs
        self._graph = graph
        self._filling = Filling(repository, runs, graph)

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
        return self._find(node, direction, depth=depth, limit=limit, known=known, decode=self._decode)

    def find_recorded(self, node: str, direction: Direction, *, depth: int | None = None) -> list[str]:
        """Return the names of what `find` finds, the nearest first, the start not included, without reading any run.

        What is only named, or damaged, and deleted versions are left out.

        Raises:
            ArtifactFSError: the store cannot be read.
        """
        part = self._find(node, direction, depth=depth, decode=decode_node)
        return [name for name, found in part.nodes.items() if name != node and is_recorded(found)]

    def _find(
        self,
        node: str,
        direction: Direction,
        *,
        decode: Callable[[str, bytes | None], VersionNode | RunNode | None],
        depth: int | None = None,
        limit: int | None = None,
        known: SomeOf[str] = (),
    ) -> Neighbourhood:
        try:
            self.update()
            found = self._graph.walk(node, direction, depth=depth, limit=limit, known=known)
        except IndexCorruptError:
            self.update()  # the graph is empty now, and fills again
            found = self._graph.walk(node, direction, depth=depth, limit=limit, known=known)
        nodes = {name: decode(name, found.values.get(name)) for name in found.distances}
        part = Neighbourhood(node, nodes, found.distances, tuple(found.edges), found.is_cut)
        made_by = {name: each.run for name, each in part.nodes.items() if isinstance(each, VersionNode) and each.run}
        return drop_own_inputs(part, made_by, upwards=direction == "up")

    def find_runs(self, versions: Iterable[str], directions: Iterable[Direction]) -> set[str]:
        """Return the ids of the runs next to some versions, each `NAME:vN`: `up` made them, `down` read them.

        Raises:
            ArtifactFSError: the store cannot be read.
        """
        self._update_anew()
        wanted = [(version, direction) for version in versions for direction in directions]
        found = {name for each in wanted for name in self._graph.walk(*each, depth=1).distances}
        return {name for name in found if is_run_id(name)}

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
        self._update_anew()
        for day in reversed(self._filling.list_days()):
            ids = sorted(self._runs.list_day(day)[0], reverse=True)
            values = self._graph.find_values(ids)
            for run in ids:
                node = decode_run(values[run]) if run in values else None
                if node is None or not node.started_ns or is_wanted(node):
                    yield run

    def update(self) -> None:
        """Bring the graph up to date.

        Raises:
            IndexCorruptError: it was damaged, and is empty now.
            ArtifactFSError: the store cannot be read.
        """
        self._filling.update()

    def _update_anew(self) -> None:
        """Bring the graph up to date, and fill it again when it was damaged."""
        try:
            self.update()
        except IndexCorruptError:
            self.update()  # the graph is empty now

    def rebuild(self) -> None:
        """Empty the graph and fill it from the store.

        Raises:
            ArtifactFSError: the store cannot be read.
        """
        self._graph.clear()
        self.update()

    def _decode(self, name: str, value: bytes | None) -> VersionNode | RunNode | None:
        node = decode_node(name, value)
        if isinstance(node, RunNode) and not node.state:
            with suppress(ArtifactFSError):  # it has not ended: what it is depends on the time
                state = self._runs.get_run(name)
                return msgspec.structs.replace(node, state=state.state, finished_ns=state.finished_ns)
        return node


def open_lineage(repository: Repository, runs: RunLog) -> Lineage:
    """Return the lineage of a repository; the caller closes it.

    Raises:
        IndexCorruptError, AccessDeniedError, StorageFullError: the index cannot be used.
    """
    return Lineage(repository, runs, open_graph(repository.state_directory, repository_id=repository.id))
