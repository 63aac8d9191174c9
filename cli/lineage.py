"""`artifactfs lineage`: what a version or run was made from, and what was made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import click

from .completing import complete_ref
from .openlineage import print_all_events, print_events
from .options import Command
from .output import format_moment, print_json
from .session import current_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.index.walking import Direction
    from artifactfs.runs.clustering import Node
    from artifactfs.runs.lineage import Neighbourhood, RunNode, VersionNode

    from .session import Session

    Wider: TypeAlias = "dict[Direction, set[str]]"

SHOWN = 1000
NAMED = 20
"""Nodes of a cycle."""
_MORE = "\0"
"""In place of a name of the tree, before that of the node of which there is more."""


@click.command("lineage", cls=Command)
@click.argument("name", metavar="REF|RUN", shell_complete=complete_ref, required=False)
@click.option("--up", is_flag=True, help="Only what it was made from.")
@click.option("--down", is_flag=True, help="Only what was made from it.")
@click.option("--depth", type=click.IntRange(min=1), help="Follow so many steps; a run and its output are two.")
@click.option("--mermaid", is_flag=True, help="Print a flow chart in Mermaid's language.")
@click.option("--svg", is_flag=True, help="Print a drawing.")
@click.option("--cluster", "is_clustered", is_flag=True, help="With --mermaid or --svg: draw what is alike as one.")
@click.option("--openlineage", is_flag=True, help="Print OpenLineage events, one a line; without a name all there are.")
def command(
    name: str | None,
    *,
    up: bool,
    down: bool,
    depth: int | None,
    mermaid: bool,
    svg: bool,
    is_clustered: bool,
    openlineage: bool,
) -> None:
    """Show what a version or run was made from, and what was made from it.

    RUN is a run's id, the beginning of one, or its name. Where more is known than is shown, a line (in a drawing a
    plus) says so; and so what is on a cycle, because a run has read what was made from its own output.
    """
    from artifactfs.errors import UsageError
    from artifactfs.runs.described import lineage_fields
    from artifactfs.runs.events import is_run_id
    from artifactfs.runs.lineage import open_lineage
    from artifactfs.runs.selecting import find_start

    from .runs import open_runs

    session = current_session()
    if name is None and not openlineage:
        msg = "lineage is of a version or run"
        raise UsageError(msg, hint="artifactfs lineage REF, or --openlineage for all that is recorded")
    with session.open_repository() as repository:
        runs = open_runs(repository)
        if name is None:
            print_all_events(repository, runs)
            return
        with open_lineage(repository, runs) as lineage:
            start = find_start(repository, runs, lineage, name)
            children = runs.get_run(start).children if is_run_id(start) else ()
            wanted: list[Direction] = [*(["up"] if up or not down else []), *(["down"] if down or not up else [])]  # type: ignore[list-item]
            limit = None if openlineage else SHOWN
            found = [(each, lineage.find(start, each, depth=depth, limit=limit)) for each in wanted]
            wider: Wider = {each: lineage.find_wider(part.nodes, each) for each, part in found if not openlineage}
        if openlineage:
            print_events(repository, runs, dict.fromkeys(node for _, part in found for node in part.nodes))
            return
    if any(part.is_cut for _, part in found) and depth is None:
        session.warn(f"only the nearest {SHOWN} are shown")
    _note_cycles(session, [part for _, part in found])
    if session.json:
        print_json(lineage_fields(start, [part for _, part in found], wider=wider))
    elif mermaid or svg:
        _draw(start, [part for _, part in found], wider, as_svg=svg, is_clustered=is_clustered)
    else:
        for line in _format_tree(start, found, wider):
            click.echo(line)
        for child in children:
            click.echo(f"  began run {child}")


def _note_cycles(session: Session, parts: list[Neighbourhood]) -> None:
    from artifactfs.runs.acyclic import find_cycles
    from artifactfs.runs.lineage import join_parts

    for names in find_cycles(*join_parts(parts)):
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        session.note(f"a cycle, in which each is made from all others: {', '.join(names[:NAMED])}{more}")


def _draw(start: str, parts: list[Neighbourhood], wider: Wider, *, as_svg: bool, is_clustered: bool) -> None:
    from artifactfs.runs.clustering import cluster, find_owners
    from artifactfs.runs.drawing import draw_mermaid, draw_svg
    from artifactfs.runs.lineage import join_parts

    found, edges = join_parts(parts)
    nodes: dict[str, Node] = {**found}
    known = [(one, two) for one, two in edges if one in nodes and two in nodes]
    if is_clustered:
        nodes, known = cluster(nodes, known, keep=(start,))
    drawn = find_owners(nodes, wider)
    click.echo(draw_svg(nodes, known, start=start, wider=drawn) if as_svg else draw_mermaid(nodes, known), nl=False)


def _format_tree(start: str, found: list[tuple[Direction, Neighbourhood]], wider: Wider) -> Iterator[str]:
    yield _describe(start, found[0][1].nodes[start])
    for direction, part in found:
        if len(part.nodes) > 1:
            if len(found) > 1:
                yield "made from:" if direction == "up" else "used for:"
            yield from _format_branches(part, direction, wider[direction])
        else:
            yield "  made from nothing that is recorded" if direction == "up" else "  used for nothing that is recorded"


def _format_branches(part: Neighbourhood, direction: Direction, wider: set[str]) -> Iterator[str]:
    """Yield a line for each edge, depth first; what was shown before is not entered again.

    Below what has more neighbours than are shown, a line says how to see them.
    """
    near, far = (0, 1) if direction == "down" else (1, 0)
    below: dict[str, list[str]] = {}
    for edge in part.edges:
        if edge[far] in part.nodes:
            below.setdefault(edge[near], []).append(edge[far])
    for name in wider:
        below.setdefault(name, []).append(f"{_MORE}{name}")
    shown = {part.start}
    stack = [("", iter(_with_last(below.get(part.start, []))))]
    while stack:
        indent, children = stack[-1]
        following = next(children, None)
        if following is None:
            stack.pop()
            continue
        name, is_last = following
        if name.startswith(_MORE):
            yield f"{indent}└─ … more: artifactfs lineage {name.removeprefix(_MORE)} --{direction}"
            continue
        again = name in shown and bool(below.get(name))
        yield f"{indent}{'└─' if is_last else '├─'} {_describe(name, part.nodes[name])}{' (above)' if again else ''}"
        if not again:
            shown.add(name)
            stack.append((indent + ("   " if is_last else "│  "), iter(_with_last(below.get(name, [])))))


def _with_last(names: list[str]) -> list[tuple[str, bool]]:
    return [(name, number == len(names)) for number, name in enumerate(names, 1)]


def _describe(name: str, node: VersionNode | RunNode | None) -> str:
    from artifactfs.runs.lineage import RunNode

    if node is None:
        return f"{name} (not recorded here)"
    if isinstance(node, RunNode):
        words = ["run", node.name or node.job_type, name, node.state, format_moment(node.started_ns), node.author]
        words.append(f"in run {node.parent}" if node.parent else "")
    else:
        gone = "deleted" if node.is_deleted else ""
        words = [name, node.type, gone, format_moment(node.time_ns), node.author]
    return "  ".join(word for word in words if word)
