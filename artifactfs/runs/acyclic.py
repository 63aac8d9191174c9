"""A part of the lineage without what would make a run its own ancestor.

Commits of earlier releases state a version that their run had made as an input of it, when the run had looked at it.

Used by `lineage`. Threading: pure functions.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
