"""Drawings of a part of the lineage: Mermaid's text, and SVG in layers from left to right.

The layout is Sugiyama's: a node's layer is the length of the longest way to it, an edge over several layers bends at a
point in each, and sweeps put every node near the middle of its neighbours.

Used by the command line and by `serve`. Threading: pure functions.

Source: K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System Structures", 1981.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from artifactfs.runs.clustering import Cluster, Node
from artifactfs.runs.lineage import RunNode, VersionNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from artifactfs.runs.lineage import Direction

SWEEPS: Final = 8
HEIGHT: Final = 34
GAP: Final = 14
LAYER_GAP: Final = 56
MARGIN: Final = 12
LETTER: Final = 7.3
"""Width of a letter of the font below, in pixels."""
STYLE: Final = """\
text{font:13px ui-monospace,monospace;fill:#1f2328}.v{fill:#ddf4ff;stroke:#54aeff}.r{fill:#fff8c5;stroke:#d4a72c}
.f{fill:#ffebe9;stroke:#ff8182}.d{stroke-dasharray:4 3}.s{stroke-width:2.5}.m{stroke-width:4}
.p{fill:#fff;stroke:#57606a}path{fill:none;stroke:#8c959f}.c{stroke-dasharray:6 4}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.v{fill:#0c2d6b;stroke:#388bfd}.r{fill:#3b2300;stroke:#bb8009}
.f{fill:#490202;stroke:#da3633}.p{fill:#0d1117;stroke:#9198a1}path{stroke:#6e7681}}"""
MORE: Final[dict[Direction, str]] = {
    "up": "it was made from more than is shown",
    "down": "more was made from it than is shown",
}


@dataclass(slots=True)
class _Layout:
    """Where everything goes: layers of names (of nodes and of bends), and the ways of the edges through them.

    `closing` are the edges that close a cycle.
    """

    layers: list[list[str]]
    ways: list[list[str]]
    bends: set[str] = field(default_factory=set)
    closing: set[tuple[str, str]] = field(default_factory=set)


def label_node(name: str, node: Node) -> str:
    """Return what a node is called in a drawing: `NAME:vN`, or a run's name or the first part of its id."""
    if isinstance(node, Cluster):
        return f"{node.label} \u00d7 {len(node.members)}"
    if isinstance(node, RunNode):
        return node.name or node.job_type or f"run {name[:13]}"
    return name if node is not None or ":" in name else f"run {name[:13]}"


def draw_mermaid(nodes: Mapping[str, Node], edges: Iterable[tuple[str, str]]) -> str:
    """Return the graph in the language of Mermaid's flow charts: versions are boxes, runs are rounded.

    Edges that close a cycle are dotted.
    """
    numbers = {name: f"n{number}" for number, name in enumerate(nodes)}
    lines = ["flowchart LR"]
    for name, node in nodes.items():
        label = label_node(name, node).replace("&", "&amp;").replace('"', "#quot;").replace("<", "&lt;")
        left, right = ("([", "])") if _is_run(name, node) else ("[", "]")
        lines.append(f'    {numbers[name]}{left}"{label}"{right}')
    found = list(dict.fromkeys(edges))
    forward = set(_without_cycles(list(nodes), found))
    for start, end in found:
        arrow = "-->" if (start, end) in forward else "-. cycle .->"
        lines.append(f"    {numbers[start]} {arrow} {numbers[end]}")
    return "\n".join(lines) + "\n"


def draw_svg(
    nodes: Mapping[str, Node],
    edges: Iterable[tuple[str, str]],
    *,
    start: str = "",
    style: str = STYLE,
    wider: Mapping[Direction, Iterable[str]] = MappingProxyType({}),
) -> str:
    """Return the graph as an SVG document of its own, for light and dark pages. Edges that close a cycle are dashed.

    Args:
        nodes: by name.
        edges: pairs of names.
        start: of these nodes, gets a thicker frame.
        style: the style sheet in the document; "" for none, where a page has it already.
        wider: by `up` and `down`, names of nodes that have more neighbours there than are drawn.
    """
    layout = _lay_out(list(nodes), list(dict.fromkeys(edges)))
    labels = {name: label_node(name, node) for name, node in nodes.items()}
    widths = {name: len(label) * LETTER + 20 for name, label in labels.items()}
    places, width, height = _place(layout, widths)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="lineage">'
        ),
        f"<style>{style}</style>" if style else "",
        (
            '<marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 1L8 4L0 7" /></marker>'
        ),
    ]
    parts += [_draw_way(way, places, widths, closes=(way[0], way[-1]) in layout.closing) for way in layout.ways]
    for name, node in nodes.items():
        x, y = places[name]
        corner = HEIGHT / 2 if _is_run(name, node) else 4
        parts.append(
            f'<g data-node="{escape(name)}"><title>{escape(_explain(name, node))}</title>'
            f'<rect class="{_class(name, node, start)}" x="{x:.1f}" '
            f'y="{y:.1f}" width="{widths[name]:.1f}" height="{HEIGHT}" rx="{corner:.0f}"/><text '
            f'x="{x + widths[name] / 2:.1f}" y="{y + 21.5:.1f}" text-anchor="middle">{escape(labels[name])}</text></g>'
        )
    for direction, names in wider.items():
        parts += [_draw_more(name, direction, places[name], widths[name]) for name in names if name in nodes]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw_more(name: str, direction: Direction, place: tuple[float, float], width: float) -> str:
    """Return a plus at the lower corner where what is not drawn would be."""
    x, y = place[0] + (width - 4 if direction == "down" else 4), place[1] + HEIGHT
    return (
        f'<g data-more="{escape(direction)}" data-of="{escape(name)}"><title>{MORE[direction]}</title>'
        f'<circle class="p" cx="{x:.1f}" cy="{y:.1f}" r="7"/><path d="M{x - 4:.1f} {y:.1f}h8m-4 -4v8"/></g>'
    )


def _is_run(name: str, node: Node) -> bool:
    if isinstance(node, Cluster):
        return node.is_run
    return isinstance(node, RunNode) or (node is None and ":" not in name)


def _class(name: str, node: Node, start: str) -> str:
    kind = "r" if _is_run(name, node) else "v"
    if isinstance(node, RunNode) and node.state in ("failed", "crashed", "lost"):
        kind = "f"
    gone = node is None or (isinstance(node, VersionNode) and node.is_deleted)
    many = " m" if isinstance(node, Cluster) else ""
    return kind + many + (" d" if gone else "") + (" s" if name == start else "")


def _explain(name: str, node: Node) -> str:
    if isinstance(node, RunNode):
        return " ".join(word for word in (name, node.state, node.job_type, node.project, node.author) if word)
    if node is None:
        return f"{name}, which is not recorded here"
    if isinstance(node, Cluster):
        return f"{len(node.members)} of {node.label}, such as {node.members[0]}"
    return " ".join(word for word in (name, node.type, node.author, "deleted" if node.is_deleted else "") if word)


def _lay_out(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> _Layout:
    forward = _without_cycles(names, edges)
    layer = _find_layers(names, forward)
    layout = _Layout([[] for _ in range(max(layer.values(), default=-1) + 1)], [])
    for name in names:
        layout.layers[layer[name]].append(name)
    kept = set(forward)
    layout.closing.update(edge for edge in edges if edge not in kept)
    for start, end in edges:
        low, high = (start, end) if (start, end) in kept else (end, start)
        bends = [f"{low}\0{high}\0{number}" for number in range(layer[low] + 1, layer[high])]
        for number, bend in enumerate(bends, layer[low] + 1):
            layout.layers[number].append(bend)
        layout.bends.update(bends)
        way = [low, *bends, high]
        layout.ways.append(way if low == start else way[::-1])
    _untangle(layout)
    return layout


def _without_cycles(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the edges that lead on: a run that reads what it has made closes a cycle."""
    following: dict[str, list[str]] = {name: [] for name in names}
    for start, end in edges:
        following[start].append(end)
    kept: list[tuple[str, str]] = []
    done: set[str] = set()
    for root in names:
        path: dict[str, int] = {}
        stack = [root] if root not in done else []
        while stack:
            name = stack[-1]
            number = path.setdefault(name, 0)
            if number == len(following[name]):
                stack.pop()
                path.pop(name)
                done.add(name)
                continue
            path[name] += 1
            end = following[name][number]
            if end not in path:
                kept.append((name, end))
                if end not in done:
                    stack.append(end)
    return kept


def _find_layers(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    waiting = dict.fromkeys(names, 0)
    following: dict[str, list[str]] = {name: [] for name in names}
    for start, end in edges:
        following[start].append(end)
        waiting[end] += 1
    layer = dict.fromkeys(names, 0)
    ready = [name for name in names if not waiting[name]]
    while ready:
        name = ready.pop()
        for end in following[name]:
            layer[end] = max(layer[end], layer[name] + 1)
            waiting[end] -= 1
            if not waiting[end]:
                ready.append(end)
    return layer


def _untangle(layout: _Layout) -> None:
    """Put each name of a layer near the middle of its neighbours in the layer before, then in the one after."""
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    number = {name: index for index, names in enumerate(layout.layers) for name in names}
    for way in layout.ways:
        for one, two in pairwise(way):
            low, high = (one, two) if number[one] < number[two] else (two, one)
            before.setdefault(high, []).append(low)
            after.setdefault(low, []).append(high)
    for sweep in range(SWEEPS):
        neighbours = after if sweep % 2 else before
        layers = layout.layers[::-1] if sweep % 2 else layout.layers
        for fixed, names in pairwise(layers):
            places = {name: index for index, name in enumerate(fixed)}
            middle = {name: _middle(name, index, neighbours, places) for index, name in enumerate(names)}
            names.sort(key=middle.__getitem__)


def _middle(name: str, index: int, neighbours: dict[str, list[str]], places: dict[str, int]) -> float:
    found = [places[other] for other in neighbours.get(name, ())]
    return sum(found) / len(found) if found else index


def _place(layout: _Layout, widths: dict[str, float]) -> tuple[dict[str, tuple[float, float]], float, float]:
    """Return the upper left corner of everything, and the width and height of the whole."""
    rows = max((len(names) for names in layout.layers), default=0)
    height = rows * (HEIGHT + GAP) - GAP if rows else 0
    places: dict[str, tuple[float, float]] = {}
    x = float(MARGIN)
    for names in layout.layers:
        widest = max(widths.get(name, 0) for name in names)
        y = MARGIN + (height - len(names) * (HEIGHT + GAP) + GAP) / 2
        for name in names:
            places[name] = (x + (widest - widths.get(name, 0)) / 2, y)
            y += HEIGHT + GAP
        x += widest + LAYER_GAP
    return places, max(x - LAYER_GAP, MARGIN) + MARGIN, height + 2 * MARGIN


def _draw_way(
    way: Sequence[str], places: dict[str, tuple[float, float]], widths: dict[str, float], *, closes: bool
) -> str:
    leads_on = places[way[0]][0] <= places[way[-1]][0]
    points = []
    for number, name in enumerate(way):
        x, y = places[name]
        leaves_right = (number == 0) == leads_on
        points.append((x + (widths.get(name, 0) if leaves_right else 0), y + HEIGHT / 2))
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (x + to_x) / 2
        path += f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
    kind = 'class="c" ' if closes else ""
    return f'<path {kind}d="{path}" marker-end="url(#a)"/>'
