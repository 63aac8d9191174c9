"""A large part of the lineage made small: what is hidden is bridged, and what is alike is drawn as one.

Two nodes are alike when they are of one kind (versions of one collection, or runs of one name and job type) and so are
their neighbours, and the neighbours of these. That is two rounds of colour refinement; the graph of the classes is what
is drawn.

Used by the command line and by `serve`. Threading: pure functions.

Source: B. Weisfeiler, A. Leman, "The reduction of a graph to canonical form and the algebra which appears therein",
1968.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from artifactfs.runs.lineage import RunNode, VersionNode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping

CLUSTERED_FROM: Final = 60
"""So many nodes are drawn one by one."""
ALIKE: Final = 3
"""So many alike become one."""
SHOWN_OF_OPENED: Final = 50
ROUNDS: Final = 2
EDGES_MAX: Final = 20_000

Edges: TypeAlias = "list[tuple[str, str]]"
Key = TypeVar("Key", bound=str)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes that are alike.

    Attributes:
        label: what they have in common: a collection, or the name of runs.
        is_run: whether they are runs.
        members: their names.
    """

    label: str
    is_run: bool
    members: tuple[str, ...]


Node: TypeAlias = VersionNode | RunNode | Cluster | None


def hide(
    nodes: dict[str, Node], edges: Iterable[tuple[str, str]], is_shown: Callable[[str, Node], bool]
) -> tuple[dict[str, Node], Edges]:
    """Return what is shown, with an edge wherever a way leads through nothing but what is hidden."""
    shown = {name: node for name, node in nodes.items() if is_shown(name, node)}
    following: defaultdict[str, list[str]] = defaultdict(list)
    for one, two in edges:
        following[one].append(two)
    found: dict[tuple[str, str], None] = {}
    for start in shown:
        seen: set[str] = set()
        waiting = list(following.get(start, ()))
        while waiting and len(found) < EDGES_MAX:
            name = waiting.pop()
            if name in shown:
                found[start, name] = None
            elif name not in seen:
                seen.add(name)
                waiting += following.get(name, ())
    return shown, [edge for edge in found if edge[0] != edge[1]]


def cluster(
    nodes: dict[str, Node],
    edges: Iterable[tuple[str, str]],
    *,
    keep: Collection[str] = (),
    opened: Collection[str] = (),
) -> tuple[dict[str, Node], Edges]:
    """Return the graph with nodes that are alike drawn as one.

    Args:
        nodes: of the graph.
        edges: of the graph.
        keep: names of nodes that stay by themselves.
        opened: names of nodes; the first of those that are alike with one are shown by themselves.
    """
    kept = list(edges)
    colours = _find_colours(nodes, kept)
    classes: defaultdict[Hashable, list[str]] = defaultdict(list)
    for name in nodes:
        classes[("kept", name) if name in keep else colours[name]].append(name)
    place: dict[str, str] = {}
    found: dict[str, Node] = {}
    for members in classes.values():
        alone = SHOWN_OF_OPENED if not set(opened).isdisjoint(members) else 0
        if len(members) - alone < ALIKE:
            alone = len(members)
        for name in members[:alone]:
            place[name], found[name] = name, nodes[name]
        rest = tuple(members[alone:])
        if rest:
            place |= dict.fromkeys(rest, rest[0])
            found[rest[0]] = Cluster(_label(rest[0], nodes[rest[0]]), _is_run(rest[0], nodes[rest[0]]), rest)
    led = dict.fromkeys((place[one], place[two]) for one, two in kept if one in place and two in place)
    return found, [edge for edge in led if edge[0] != edge[1]]


def find_owners(nodes: Mapping[str, Node], named: Mapping[Key, Collection[str]]) -> dict[Key, list[str]]:
    """Return names that stand in a graph for others: those of clusters for those of their members."""
    owners = {member: name for name, node in nodes.items() if isinstance(node, Cluster) for member in node.members}
    return {
        key: list(dict.fromkeys(owner for name in names if (owner := owners.get(name, name)) in nodes))
        for key, names in named.items()
    }


def _find_colours(nodes: dict[str, Node], edges: Edges) -> dict[str, int]:
    before: defaultdict[str, list[str]] = defaultdict(list)
    after: defaultdict[str, list[str]] = defaultdict(list)
    for one, two in edges:
        if one in nodes and two in nodes:
            after[one].append(two)
            before[two].append(one)
    colours = _number({name: (_is_run(name, node), _label(name, node)) for name, node in nodes.items()})
    for _ in range(ROUNDS):
        colours = _number(
            {
                name: (
                    colours[name],
                    frozenset(colours[other] for other in before[name]),
                    frozenset(colours[other] for other in after[name]),
                )
                for name in nodes
            }
        )
    return colours


def _number(keys: dict[str, tuple[object, ...]]) -> dict[str, int]:
    numbers: dict[tuple[object, ...], int] = {}
    return {name: numbers.setdefault(key, len(numbers)) for name, key in keys.items()}


def _is_run(name: str, node: Node) -> bool:
    return isinstance(node, RunNode) or (node is None and ":" not in name)


def _label(name: str, node: Node) -> str:
    if isinstance(node, RunNode):
        return node.job_type or node.name or "run"
    if isinstance(node, Cluster):
        return node.label
    return name.partition(":")[0] if ":" in name else "run"
