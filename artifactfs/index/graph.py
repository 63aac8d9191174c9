"""A directed graph in LMDB: nodes with a value each, and edges that are found from either end.

It is rebuilt from the store, so it may be emptied at any time. Each transaction waits for the disk all the same: after
a loss of power a half-written one could not be told from a graph in which nothing is missing. Nodes are named by text
of up to 400 bytes. What is a node, and what the values are, is up to the caller. The neighbours of a node are kept in
chunks, so that a version which 100,000 runs have read costs a new edge no more than any other.

Used by `runs`. Threading: a Graph may be shared by threads.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec

from artifactfs.errors import IndexCorruptError
from artifactfs.index.environment import Environment
from artifactfs.index.places import find_local_directory
from artifactfs.index.walking import CHUNK, CHUNK_NUMBER, NODES, chunk_key, decode_names, iter_neighbours, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from artifactfs.index.environment import Reader, Writer
    from artifactfs.index.walking import Direction, Walk

FOLDER: Final = "graph"
FORMAT: Final = b"3"
Result = TypeVar("Result")

_EDGES, _COUNTS, _META = "edges", "counts", "meta"
_TABLES: Final = (NODES, _EDGES, _COUNTS, "up", "down", _META)
_OWNER, _OPEN = b"owner", b"open"
_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode_open = msgspec.msgpack.Decoder(dict[str, int])


@dataclass(slots=True)
class Additions:
    """What is added to a graph in one go.

    Attributes:
        nodes: values by name; they replace what was there.
        edges: pairs of names, from and to; one that is there already stays as it is.
        marks: what the caller remembers, by key.
        opened: nodes of which more may come, with how much of them was seen.
        closed: nodes of which no more comes.
    """

    nodes: dict[str, bytes] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    marks: dict[str, bytes] = field(default_factory=dict)
    opened: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)


class Graph:
    """Nodes and edges. A context manager; may be shared by threads."""

    def __init__(self, environment: Environment, *, owner: bytes) -> None:
        self._environment = environment
        self._owner = owner

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Release it."""
        self._environment.close()

    def add(self, additions: Additions) -> None:
        """Add nodes and edges, all or none of them.

        Raises:
            IndexCorruptError: the graph was damaged; it is empty now.
            StorageFullError: there is no room.
        """
        self._guarded(lambda: self._environment.write(lambda writer: _add(writer, additions)))

    def find_values(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the values of those nodes that there are.

        Raises:
            IndexCorruptError: the graph was damaged; it is empty now.
        """
        keys = [name.encode() for name in names]
        found = self._guarded(lambda: self._environment.read(lambda reader: reader.get_many(NODES, keys)))
        return {name.decode(): value for name, value in found.items()}

    def find_mark(self, key: str) -> bytes | None:
        """Return what the caller remembers under a key.

        Raises:
            IndexCorruptError: the graph was damaged; it is empty now.
        """
        return self._guarded(lambda: self._environment.get(_META, b"mark " + key.encode()))

    def find_open(self) -> dict[str, int]:
        """Return the nodes of which more may come, with how much of them was seen.

        Raises:
            IndexCorruptError: the graph was damaged; it is empty now.
        """
        data = self._guarded(lambda: self._environment.get(_META, _OPEN))
        return _decode_open.decode(data) if data else {}

    def walk(
        self,
        start: str,
        direction: Direction,
        *,
        depth: int | None = None,
        limit: int | None = None,
        known: Collection[str] = (),
    ) -> Walk:
        """Return everything that can be reached from a node, the nearest first.

        Args:
            start: the node's name; it need not be in the graph.
            direction: against the edges or along them.
            depth: how many edges to follow at most.
            limit: how many nodes to return at most.
            known: nodes that are not wanted again: edges to them are returned, but nothing beyond them.

        Raises:
            IndexCorruptError: the graph was damaged; it is empty now.
        """
        return self._guarded(
            lambda: self._environment.read(
                lambda reader: walk(reader, start, direction, depth=depth, limit=limit, known=known)
            )
        )

    def find_wider(self, shown: Collection[str], direction: Direction) -> set[str]:
        """Return those of some nodes that have a neighbour in a direction which is none of them.

        Raises:
            IndexCorruptError: the graph was damaged; it is empty now.
        """

        def find(reader: Reader) -> set[str]:
            return {
                name
                for name in shown
                if any(neighbour not in shown for neighbour in iter_neighbours(reader, direction, name))
            }

        return self._guarded(lambda: self._environment.read(find))

    def clear(self) -> None:
        """Empty the graph.

        Raises:
            IndexCorruptError, StorageFullError: that failed.
        """
        try:
            self._environment.write(self._begin)
        except IndexCorruptError:
            self._replace()

    def bind(self) -> None:
        """Empty the graph if it was filled for another repository, or by another release."""
        if self._guarded(lambda: self._environment.get(_META, _OWNER)) != self._owner:
            self.clear()

    def _begin(self, writer: Writer) -> None:
        writer.clear()
        writer.put(_META, _OWNER, self._owner)

    def _guarded(self, action: Callable[[], Result]) -> Result:
        try:
            return action()
        except (IndexCorruptError, msgspec.MsgspecError) as error:
            _log.warning("the graph is set aside and fills again: %s", error)
            self._replace()
            msg = "the index of runs was damaged and is empty now"
            raise IndexCorruptError(msg, hint="run the same command again") from error

    def _replace(self) -> None:
        self._environment.replace()
        self._environment.write(self._begin)


def open_graph(directory: str, *, repository_id: str) -> Graph:
    """Return the graph below a state directory; it is made if there is none, and replaced if it is damaged.

    Raises:
        IndexCorruptError: it is damaged and cannot be replaced.
        AccessDeniedError, StorageFullError: the directory cannot be used.
    """
    path = find_local_directory(os.path.join(directory, FOLDER))
    environment = Environment(path, tables=_TABLES, durable=True)
    environment.open()
    graph = Graph(environment, owner=FORMAT + b" " + repository_id.encode())
    graph.bind()
    return graph


def _add(writer: Writer, additions: Additions) -> None:
    writer.put_many(NODES, sorted((name.encode(), value) for name, value in additions.nodes.items()))
    keys = {_edge_key(*edge): edge for edge in additions.edges}
    there = writer.get_many(_EDGES, sorted(keys))
    new = {key: edge for key, edge in keys.items() if key not in there}
    writer.put_many(_EDGES, sorted((key, b"") for key in new))
    for direction, near, far in (("down", 0, 1), ("up", 1, 0)):
        grouped: dict[str, list[str]] = {}
        for edge in new.values():
            grouped.setdefault(edge[near], []).append(edge[far])
        for name, names in sorted(grouped.items()):
            _append(writer, direction, name.encode(), names)
    for key, value in additions.marks.items():
        writer.put(_META, b"mark " + key.encode(), value)
    if additions.opened or additions.closed:
        data = writer.get(_META, _OPEN)
        unfinished = (_decode_open.decode(data) if data else {}) | additions.opened
        kept = {name: seen for name, seen in unfinished.items() if name not in additions.closed}
        writer.put(_META, _OPEN, _encode(kept))


def _append(writer: Writer, table: str, name: bytes, names: list[str]) -> None:
    """Add neighbours to those of a node: the last chunk is filled up, others follow."""
    counter = table.encode() + b" " + name
    value = writer.get(_COUNTS, counter)
    count = CHUNK_NUMBER.unpack(value)[0] if value else 0
    number, filled = divmod(count, CHUNK)
    last = writer.get(table, chunk_key(name, number)) if filled else None
    pending = (decode_names(last) if last else []) + names
    for first in range(0, len(pending), CHUNK):
        writer.put(table, chunk_key(name, number), _encode(pending[first : first + CHUNK]))
        number += 1
    writer.put(_COUNTS, counter, CHUNK_NUMBER.pack(count + len(names)))


def _edge_key(start: str, end: str) -> bytes:
    return hashlib.blake2b(f"{start}\0{end}".encode(), digest_size=16).digest()
