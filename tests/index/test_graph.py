"""The graph in the index equals a model, in whatever portions it is filled, and survives damage by being empty."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifactfs.errors import IndexCorruptError
from artifactfs.index.graph import CHUNK, Additions, Graph, open_graph


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return open_graph(str(tmp_path), repository_id="a")


NAMES = st.sampled_from([f"n{number}" for number in range(12)])
EDGES = st.lists(st.tuples(NAMES, NAMES), max_size=40)


def reach(edges: set[tuple[str, str]], start: str, near: int, depth: int | None) -> dict[str, int]:
    found, level, distance = {start: 0}, {start}, 0
    while level and (depth is None or distance < depth):
        distance += 1
        level = {edge[1 - near] for edge in edges if edge[near] in level} - set(found)
        found |= dict.fromkeys(level, distance)
    return found


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(EDGES, max_size=4), NAMES, st.one_of(st.none(), st.integers(1, 3)))
def test_walks_equal_those_of_a_model(graph: Graph, portions: list, start: str, depth: int | None) -> None:
    graph.clear()
    edges: set[tuple[str, str]] = set()
    for portion in portions:
        graph.add(Additions(edges=portion, nodes={one: one.encode() for one, _ in portion}))
        edges |= set(portion)
    for direction, near in (("down", 0), ("up", 1)):
        found = graph.walk(start, direction, depth=depth)  # type: ignore[arg-type]
        assert found.distances == reach(edges, start, near, depth)
        inner = {name for name, distance in found.distances.items() if depth is None or distance < depth}
        assert set(found.edges) == {edge for edge in edges if edge[near] in inner}
        assert len(found.edges) == len(set(found.edges))
        assert found.values == {one: one.encode() for one, _ in edges if one in found.distances}


@pytest.mark.parametrize("count", [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_many_neighbours_added_one_by_one_and_at_once(graph: Graph, count: int) -> None:
    names = [f"x{number}" for number in range(count)]
    graph.add(Additions(edges=[("hub", name) for name in names]))
    for number in range(3):
        graph.add(Additions(edges=[("hub", f"y{number}"), ("hub", "x0")]))
    assert list(graph.walk("hub", "down").distances) == ["hub", *names, "y0", "y1", "y2"]
    assert graph.walk("y2", "up").distances == {"y2": 0, "hub": 1}


def test_a_walk_says_that_it_was_cut(graph: Graph) -> None:
    graph.add(Additions(edges=[("a", "b"), ("b", "c"), ("a", "d")]))
    assert graph.walk("a", "down", depth=1).is_cut
    assert not graph.walk("a", "down", depth=2).is_cut
    limited = graph.walk("a", "down", limit=2)
    assert limited.is_cut
    assert len(limited.distances) == 2


def test_a_graph_is_widened_by_what_is_not_known(graph: Graph) -> None:
    names = [f"x{number}" for number in range(2 * CHUNK)]
    graph.add(Additions(edges=[("a", "hub"), *(("hub", name) for name in names), ("x1", "end"), ("a", "x1")]))
    first = graph.walk("a", "down", limit=10)
    known = set(first.distances)
    assert graph.find_wider(known, "down") == {"hub", "x1"}
    assert graph.find_wider(known, "up") == set()
    more = graph.walk("hub", "down", limit=5, known=known)
    assert list(more.distances) == ["hub", *names[8:12]]
    assert more.is_cut
    assert ("hub", "x0") in more.edges
    rest = graph.walk("hub", "down", known=known)
    assert known | set(rest.distances) == {"a", "hub", *names}
    assert not rest.is_cut
    assert graph.find_wider({"hub", *names, "end"}, "down") == set()
    assert graph.find_wider({"hub", *names, "end"}, "up") == {"hub", "x1"}


def test_what_is_open_is_merged(graph: Graph) -> None:
    graph.add(Additions(opened={"a": 1, "b": 2}))
    graph.add(Additions(opened={"c": 1}, closed={"a"}))
    graph.add(Additions(opened={"b": 5}, marks={"m": b"1"}))
    assert graph.find_open() == {"b": 5, "c": 1}
    assert graph.find_mark("m") == b"1"
    assert graph.find_mark("other") is None


def test_it_is_emptied_for_another_repository(tmp_path: Path) -> None:
    with open_graph(str(tmp_path), repository_id="a") as graph:
        graph.add(Additions(nodes={"n": b"1"}))
    with open_graph(str(tmp_path), repository_id="a") as graph:
        assert graph.find_values(["n", "m"]) == {"n": b"1"}
    with open_graph(str(tmp_path), repository_id="b") as graph:
        assert graph.find_values(["n"]) == {}


def test_damage_empties_it(tmp_path: Path) -> None:
    with open_graph(str(tmp_path), repository_id="a") as graph:
        graph.add(Additions(edges=[("a", "b")], nodes={"a": b"1"}))
    with open(tmp_path / "graph" / "data.mdb", "r+b") as file:
        file.truncate(os.path.getsize(tmp_path / "graph" / "data.mdb") // 2)
    try:
        with open_graph(str(tmp_path), repository_id="a") as graph:
            graph.walk("a", "down")
    except IndexCorruptError:
        pass
    with open_graph(str(tmp_path), repository_id="a") as graph:
        graph.add(Additions(edges=[("a", "c")]))
        assert "c" in graph.walk("a", "down").distances
