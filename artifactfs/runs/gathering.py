"""Additions to the graph of runs and versions, many in one transaction: each waits for the disk.

Used by `lineagefilling`. Threading: a Gathering belongs to one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artifactfs.index.graph import Additions

if TYPE_CHECKING:
    from artifactfs.index.graph import Graph

LARGE: Final = 20_000
"""Nodes and edges of one transaction."""


class Gathering:
    """Adds to a graph when there is much to add, and when it is told to. Belongs to one call.

    What was not added yet when the call fails is found again by the next one.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._pending = Additions()

    def add(self, more: Additions) -> None:
        """Add something, now or later; what is said later of a node counts.

        Raises:
            IndexCorruptError, StorageFullError: see `Graph.add`.
        """
        pending = self._pending
        pending.nodes |= more.nodes
        pending.edges += more.edges
        pending.marks |= more.marks
        pending.closed = (pending.closed - more.opened.keys()) | more.closed
        pending.opened |= more.opened
        if len(pending.nodes) + len(pending.edges) >= LARGE:
            self.flush()

    def flush(self) -> None:
        """Add what was not added yet.

        Raises:
            IndexCorruptError, StorageFullError: see `Graph.add`.
        """
        pending, self._pending = self._pending, Additions()
        if pending != Additions():
            self._graph.add(pending)
