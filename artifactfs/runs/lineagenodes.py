"""What the lineage knows of runs and versions, and a part of it.

Used by `lineage`, which hands it on, and by who fills and draws it. Threading: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactfs.repository.records import Commit, Record
    from artifactfs.runs.state import RunState


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


decode_version = msgspec.msgpack.Decoder(VersionNode).decode
decode_run = msgspec.msgpack.Decoder(RunNode).decode
encode_node = msgspec.msgpack.Encoder().encode


def make_run_node(state: RunState, *, is_final: bool) -> RunNode:
    """Return a run as a node; unless `is_final`, its state and end may still be others."""
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


def edges_of(record: Record, body: Commit, node: str, own: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the edges that a commit states: through its run, if it has one, but for `own` versions of the run."""
    if record.run:
        yield record.run, node
        yield from ((artifact, node if artifact in own else record.run) for artifact in body.inputs)
    else:
        yield from ((artifact, node) for artifact in body.inputs)
    base = None if body.base is None else f"{record.collection}:v{body.base}"
    if base is not None and base not in body.inputs:
        yield base, node


def decode_node(name: str, value: bytes | None) -> VersionNode | RunNode | None:
    """Return what the graph knows of a node; None of one that is only named."""
    if value is None:
        return None
    return decode_version(value) if ":" in name else decode_run(value)


def is_recorded(node: VersionNode | RunNode | None) -> bool:
    """Return whether it is a version that was not deleted, or a run of which something can be read."""
    if isinstance(node, VersionNode):
        return not node.is_deleted
    return node is not None and bool(node.started_ns)


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


def join_parts(
    parts: Iterable[Neighbourhood],
) -> tuple[dict[str, VersionNode | RunNode | None], list[tuple[str, str]]]:
    """Return the nodes and the edges of several parts, each once."""
    found = list(parts)
    nodes = {name: node for part in found for name, node in part.nodes.items()}
    return nodes, list(dict.fromkeys(edge for part in found for edge in part.edges))
