"""Walking over a directed graph in LMDB.

Used by `graph`. Threading: functions within one transaction.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from artifactfs.index.environment import Reader

Direction: TypeAlias = Literal["up", "down"]
NODES: Final = "nodes"
CHUNK: Final = 256
"""Neighbours in one value."""
CHUNK_NUMBER: Final = struct.Struct(">I")
decode_names = msgspec.msgpack.Decoder(list[str]).decode


@dataclass(slots=True)
class Walk:
    """What was reached from a node.

    Attributes:
        distances: number of edges to each node, in the order in which they were reached; the start has 0.
        edges: those that were followed, from and to, as they are in the graph.
        values: of those nodes that have one.
        is_cut: whether there was more than was asked for.
    """

    distances: dict[str, int]
    edges: list[tuple[str, str]] = field(default_factory=list)
    values: dict[str, bytes] = field(default_factory=dict)
    is_cut: bool = False


def walk(
    reader: Reader,
    start: str,
    direction: Direction,
    *,
    depth: int | None,
    limit: int | None,
    known: Collection[str],
) -> Walk:
    """Return everything that can be reached from a node; see `Graph.walk`."""
    found = Walk({start: 0})
    level, distance = [start], 0
    while level and (depth is None or distance < depth) and not found.is_cut:
        distance += 1
        following: list[str] = []
        for name, neighbours in _iter_level(reader, direction, level):
            for neighbour in neighbours:
                if neighbour not in found.distances and neighbour not in known:
                    if limit is not None and len(found.distances) >= limit:
                        found.is_cut = True
                        continue
                    found.distances[neighbour] = distance
                    following.append(neighbour)
                found.edges.append((name, neighbour) if direction == "down" else (neighbour, name))
        level = following
    if level and depth is not None and not found.is_cut:
        found.is_cut = any(reader.get(direction, chunk_key(name.encode(), 0)) for name in level)
    values = reader.get_many(NODES, [name.encode() for name in found.distances])
    found.values = {name.decode(): value for name, value in values.items()}
    return found


def _iter_level(reader: Reader, direction: Direction, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield those of some nodes that have neighbours, with these. The first chunks of all are read at once."""
    keys = [chunk_key(name.encode(), 0) for name in names]
    found = reader.get_many(direction, keys)
    for name, key in zip(names, keys, strict=True):
        data = found.get(key)
        if data is not None:
            neighbours = decode_names(data)
            if len(neighbours) == CHUNK:
                neighbours += iter_neighbours(reader, direction, name, first=1)
            yield name, neighbours


def iter_neighbours(reader: Reader, direction: Direction, name: str, *, first: int = 0) -> Iterator[str]:
    """Yield the names next to a node, in the order in which they were added; those before a chunk are left out."""
    key, number = name.encode(), first
    while (data := reader.get(direction, chunk_key(key, number))) is not None:
        names = decode_names(data)
        yield from names
        if len(names) < CHUNK:
            break
        number += 1


def chunk_key(name: bytes, number: int) -> bytes:
    """Return the key of a chunk of the neighbours of a node."""
    return name + b"\0" + CHUNK_NUMBER.pack(number)
