"""Runs and lineage as members of JSON objects: what `--json` prints, and the web API answers.

Used by the command line and by `serve`. Threading: pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import msgspec

from artifactfs.clock import format_time_ns
from artifactfs.runs.acyclic import find_cycles
from artifactfs.runs.lineage import RunNode, join_parts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from artifactfs.runs.lineage import Direction, Neighbourhood, VersionNode
    from artifactfs.runs.state import RunState


class RunFields(TypedDict):
    """A run."""

    id: str
    state: str
    name: str
    project: str
    job_type: str
    author: str
    started: str
    finished: str | None
    seen: str
    exit_code: int | None
    host: str
    user: str
    command: list[str]
    directory: str
    git: dict[str, Any] | None
    variables: dict[str, str]
    tags: list[str]
    notes: str
    config: dict[str, Any]
    inputs: list[str]
    outputs: list[str]
    parent: str | None
    children: list[str]


class NodeFields(TypedDict):
    """A node of the lineage. What belongs to the other kind is not there.

    `wider` says in which directions, `up` and `down`, more is known than was asked for.
    """

    id: str
    kind: str
    name: NotRequired[str]
    job_type: NotRequired[str]
    project: NotRequired[str]
    started: NotRequired[str]
    state: NotRequired[str]
    author: NotRequired[str]
    type: NotRequired[str]
    created: NotRequired[str]
    run: NotRequired[str | None]
    parent: NotRequired[str | None]
    tags: NotRequired[list[str]]
    is_deleted: NotRequired[bool]
    wider: NotRequired[list[str]]


# `from` is no name in Python.
EdgeFields = TypedDict("EdgeFields", {"from": str, "to": str})


class LineageFields(TypedDict):
    """A part of the lineage."""

    start: str
    nodes: list[NodeFields]
    edges: list[EdgeFields]
    cycles: list[list[str]]
    is_cut: bool


def run_fields(state: RunState) -> RunFields:
    """Return a run as members of a JSON object."""
    circumstances = state.circumstances
    return {
        "id": state.id,
        "state": state.state,
        "name": state.name,
        "project": state.project,
        "job_type": state.job_type,
        "author": state.author,
        "started": format_time_ns(state.started_ns),
        "finished": None if state.finished_ns is None else format_time_ns(state.finished_ns),
        "seen": format_time_ns(state.seen_ns),
        "exit_code": state.exit_code,
        "host": state.host,
        "user": state.user,
        "command": list(circumstances.command),
        "directory": circumstances.directory,
        "git": msgspec.to_builtins(circumstances.git),
        "variables": circumstances.variables,
        "tags": list(state.tags),
        "notes": state.notes,
        "config": state.config,
        "inputs": list(state.inputs),
        "outputs": list(state.outputs),
        "parent": state.parent or None,
        "children": list(state.children),
    }


def node_fields(name: str, node: VersionNode | RunNode | None) -> NodeFields:
    """Return a node of the lineage as members of a JSON object."""
    if node is None:
        return {"id": name, "kind": "unknown"}
    if isinstance(node, RunNode):
        return {
            "id": name,
            "kind": "run",
            "name": node.name,
            "job_type": node.job_type,
            "project": node.project,
            "author": node.author,
            "started": format_time_ns(node.started_ns),
            "state": node.state,
            "parent": node.parent or None,
        }
    return {
        "id": name,
        "kind": "version",
        "type": node.type,
        "created": format_time_ns(node.time_ns),
        "author": node.author,
        "run": node.run or None,
        "tags": list(node.tags),
        "is_deleted": node.is_deleted,
    }


def lineage_fields(
    start: str, parts: list[Neighbourhood], *, wider: Mapping[Direction, Collection[str]]
) -> LineageFields:
    """Return parts of the lineage around one node as members of a JSON object.

    Args:
        start: the node.
        parts: of the lineage.
        wider: by direction, the nodes of which there is more.
    """
    nodes, edges = join_parts(parts)
    return {
        "start": start,
        "nodes": [
            {**node_fields(name, node), "wider": [each for each, names in wider.items() if name in names]}
            for name, node in nodes.items()
        ],
        "edges": [{"from": one, "to": two} for one, two in edges],
        "cycles": find_cycles(nodes, edges),
        "is_cut": any(part.is_cut for part in parts),
    }
