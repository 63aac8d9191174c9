"""The graph of runs and versions: as data, and as the drawing that `artifactfs lineage --svg` makes.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NotRequired, TypedDict, cast

from msgspec import Meta, Struct
from starlette.responses import Response

from artifactfs.runs.clustering import CLUSTERED_FROM, Cluster, cluster, find_owners, hide
from artifactfs.runs.described import EdgeFields, NodeFields, node_fields
from artifactfs.runs.drawing import STYLE, draw_svg, label_node
from artifactfs.runs.lineage import RunNode, VersionNode, join_parts
from artifactfs.runs.selecting import find_start

if TYPE_CHECKING:
    from artifactfs.runs.clustering import Edges, Node
    from artifactfs.runs.lineage import Direction, Lineage, Neighbourhood
    from artifactfs.serve.context import Context

NODES_MAX: Final = 5000
WIDENED: Final = 200
"""So many nodes come at once beyond the edge of what is shown."""
Names = Annotated[str, Meta(max_length=4096, description="Names of nodes, separated by commas.")]


class GraphNode(NodeFields):
    """A node; `kind` is `cluster` for several that are alike, `count` says how many."""

    label: str
    count: NotRequired[int]
    members: NotRequired[list[str]]


class Graph(TypedDict):
    """A part of the lineage.

    `is_cut` says that there is more of it, `node_count` how many nodes were found, `style` is the style sheet of the
    drawing.
    """

    start: str
    nodes: list[GraphNode]
    edges: list[EdgeFields]
    is_cut: bool
    is_clustered: bool
    node_count: int
    style: str


class LineageParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What of the lineage is wanted."""

    node: Annotated[str, Meta(min_length=1, max_length=512, description="A REF, or a run's id or name.")]
    direction: Literal["both", "up", "down"] = "both"
    depth: Annotated[int, Meta(ge=1, le=1000, description="Follow so many steps; a run and its output are two.")] = 12
    limit: Annotated[int, Meta(ge=1, le=NODES_MAX, description="The nearest so many, in each direction.")] = 1000
    show: Literal["all", "versions", "runs"] = "all"
    filter: Annotated[str, Meta(max_length=200, description="Only nodes of which something contains this.")] = ""
    clusters: Literal["auto", "always", "never"] = "auto"
    open: Names = ""
    widen: Annotated[
        str, Meta(max_length=8192, description="`up:NODE` or `down:NODE`, separated by commas: more of these.")
    ] = ""
    styled: Annotated[bool, Meta(description="Whether the drawing has its style sheet in it.")] = True


@dataclass(frozen=True, slots=True)
class _About:
    """What is to be known of a drawing; `wider` has, by direction, the nodes that have more there."""

    wider: dict[Direction, list[str]]
    is_cut: bool
    is_clustered: bool
    node_count: int


def get_lineage(context: Context, wanted: LineageParameters) -> Graph:
    """What a version or run was made from, and what was made from it."""
    start, nodes, edges, more = _find(context, wanted)
    wider = {direction: frozenset(names) for direction, names in more.wider.items()}
    return {
        "start": start,
        "nodes": [
            _describe(name, node, [direction for direction, names in wider.items() if name in names])
            for name, node in nodes.items()
        ],
        "edges": [{"from": one, "to": two} for one, two in edges],
        "is_cut": more.is_cut,
        "is_clustered": more.is_clustered,
        "node_count": more.node_count,
        "style": STYLE,
    }


def draw_lineage(context: Context, wanted: LineageParameters) -> Response:
    """The same as a drawing: an SVG document of its own, each node with its name in `data-node`."""
    start, nodes, edges, more = _find(context, wanted)
    style = STYLE if wanted.styled else ""
    drawing = draw_svg(nodes, edges, start=start, style=style, wider=more.wider)
    policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return Response(drawing, headers=headers, media_type="image/svg+xml")


def _find(context: Context, wanted: LineageParameters) -> tuple[str, dict[str, Node], Edges, _About]:
    lineage = context.lineage
    start = find_start(context.repository, context.runs, lineage, wanted.node)
    directions: list[Any] = ["up", "down"] if wanted.direction == "both" else [wanted.direction]
    parts = [lineage.find(start, each, depth=wanted.depth, limit=wanted.limit) for each in directions]
    found, led = join_parts(_widen(lineage, parts, wanted))
    nodes: dict[str, Node] = dict(found)
    edges = [(one, two) for one, two in led if one in nodes and two in nodes]
    count = len(nodes)
    if wanted.show != "all" or wanted.filter:
        nodes, edges = hide(nodes, edges, lambda name, node: name == start or _is_shown(name, node, wanted))
    wider = {each: lineage.find_wider(found, each) for each in directions}
    is_clustered = wanted.clusters == "always" or (wanted.clusters == "auto" and len(nodes) > CLUSTERED_FROM)
    if is_clustered:
        opened = frozenset(filter(None, wanted.open.split(",")))
        nodes, edges = cluster(nodes, edges, keep=(start,), opened=opened)
    is_cut = any(part.is_cut for part in parts)
    return start, nodes, edges, _About(find_owners(nodes, wider), is_cut, is_clustered, count)


def _widen(lineage: Lineage, parts: list[Neighbourhood], wanted: LineageParameters) -> list[Neighbourhood]:
    """Return parts, and what is wanted beyond their edges: from each node the nearest that no part before has."""
    found = list(parts)
    known = {name for part in found for name in part.nodes}
    for each in filter(None, wanted.widen.split(",")):
        direction, _, name = each.partition(":")
        room = min(WIDENED, NODES_MAX - len(known))
        if direction not in ("up", "down") or name not in known or room < 1:
            continue
        part = lineage.find(name, cast("Direction", direction), depth=wanted.depth, limit=room + 1, known=known)
        found.append(part)
        known |= part.nodes.keys()
    return found


def _is_shown(name: str, node: Node, wanted: LineageParameters) -> bool:
    is_run = isinstance(node, RunNode)
    if (wanted.show == "versions" and is_run) or (wanted.show == "runs" and isinstance(node, VersionNode)):
        return False
    fields = node_fields(name, node if isinstance(node, RunNode | VersionNode) else None)
    text = wanted.filter.lower()
    return not text or any(text in str(value).lower() for value in fields.values())


def _describe(name: str, node: Node, wider: list[str]) -> GraphNode:
    if isinstance(node, Cluster):
        members = list(node.members[:1000])
        fields: Any = {"id": name, "kind": "cluster", "count": len(node.members), "members": members}
    else:
        fields = node_fields(name, node)
    return cast("GraphNode", {**fields, "label": label_node(name, node), "wider": wider})
