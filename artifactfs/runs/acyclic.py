"""A part of the lineage without what would make a run its own ancestor, and what is on cycles all the same.

Commits of earlier releases state a version that their run had made as an input of it, when the run had looked at it.
What stays is true: a run that reads what another has made from its output is made from itself, because it is one node.

Used by `lineage`, `described` and the command line. Threading: pure functions.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.runs.lineage import Neighbourhood


def drop_own_inputs(part: Neighbourhood, made_by: dict[str, str], *, upwards: bool) -> Neighbourhood:
    """Return what can be reached without edges from a version to the run that made it.

    Args:
        part: of the lineage.
        made_by: the run of each version that one made.
        upwards: whether the edges were followed against their direction.
    """
    edges = tuple(edge for edge in part.edges if made_by.get(edge[0]) != edge[1])
    if len(edges) == len(part.edges):
        return part
    following: defaultdict[str, list[str]] = defaultdict(list)
    for one, two in edges:
        near, far = (two, one) if upwards else (one, two)
        following[near].append(far)
    distances = {part.start: 0}
    for name in (queue := [part.start]):
        for other in following[name]:
            if other not in distances and other in part.nodes:
                distances[other] = distances[name] + 1
                queue.append(other)
    kept = tuple(edge for edge in edges if edge[upwards] in distances)
    return replace(part, nodes={name: part.nodes[name] for name in distances}, distances=distances, edges=kept)


def find_cycles(names: Iterable[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return groups of nodes each of which leads to all others of its group, in the order of `names`.

    Source: R. Tarjan, "Depth-First Search and Linear Graph Algorithms", 1972.
    """
    order = list(names)
    following: dict[str, list[str]] = {name: [] for name in order}
    for start, end in edges:
        if start in following and end in following:
            following[start].append(end)
    search = _Search(following)
    for name in order:
        search.visit(name)
    rank = {name: number for number, name in enumerate(order)}
    groups = [sorted(group, key=rank.__getitem__) for group in search.groups if len(group) > 1]
    return sorted(groups, key=lambda group: rank[group[0]])


class _Search:
    """One search for groups. Belongs to one thread."""

    def __init__(self, following: dict[str, list[str]]) -> None:
        self.groups: list[list[str]] = []
        self._following = following
        self._number: dict[str, int] = {}
        self._lowest: dict[str, int] = {}
        self._open: list[str] = []
        self._is_open: set[str] = set()

    def visit(self, root: str) -> None:
        """Visit what a node leads to, and was not visited before."""
        if root in self._number:
            return
        stack = [(root, iter(self._following[root]))]
        self._begin(root)
        while stack:
            name, rest = stack[-1]
            other = next(rest, None)
            if other is None:
                stack.pop()
                self._end(name, stack[-1][0] if stack else None)
            elif other not in self._number:
                self._begin(other)
                stack.append((other, iter(self._following[other])))
            elif other in self._is_open:
                self._lowest[name] = min(self._lowest[name], self._number[other])

    def _begin(self, name: str) -> None:
        self._number[name] = self._lowest[name] = len(self._number)
        self._open.append(name)
        self._is_open.add(name)

    def _end(self, name: str, above: str | None) -> None:
        if self._lowest[name] == self._number[name]:
            at = self._open.index(name) if self._open[-1] != name else len(self._open) - 1
            self.groups.append(self._open[at:])
            self._is_open.difference_update(self._open[at:])
            del self._open[at:]
        if above is not None:
            self._lowest[above] = min(self._lowest[above], self._lowest[name])
