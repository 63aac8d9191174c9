"""Giving nodes to the entries of one stored page.

An entry that is equal to one met before, in whatever version, gets its node; a directory has one for each place.
What needs time is done before the write transaction: there is one writer at a time on the machine.

Used by `directories` and by transports that keep pages in a form of their own. Threading: a PagePreparation belongs to
one thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.index.epoch import NAMES, NODES, PAGES, SHARED, name_key, node_key, page_key, read_node
from artifactfs.model import PageRef
from artifactfs.vfs.nodes import attributes_of, encode_record, entry_record, shared_key

if TYPE_CHECKING:
    from artifactfs.index.environment import Writer
    from artifactfs.manifest import StoredPage
    from artifactfs.model import Entry, Placement
    from artifactfs.vfs.attributes import Attributes
    from artifactfs.vfs.nodes import DirectoryNode, NodeTable, TreeRecord

_encoder: Final = msgspec.msgpack.Encoder()
_Key = tuple[str, bytes]
"""Table and key under which the node of an entry is found: shared ones by content, directories by place."""


class PagePreparation:
    """Gives nodes to the entries of one stored page. Its `write` runs inside a write transaction.

    `number` is the ordinal of the first entry, under which names and attributes are kept for the views; None when the
    caller keeps them in a form of its own.
    """

    def __init__(self, nodes: NodeTable, directory: DirectoryNode, stored: StoredPage, *, number: int | None) -> None:
        self._epoch = nodes.epoch
        self._directory = directory
        self._number = number
        self._entries: list[tuple[Entry, Placement | None, _Key]] = [
            (item, place, _key_of(directory, item))
            for item, place in zip(stored.page.items, stored.placements, strict=True)
            if not isinstance(item, PageRef)
        ]

    def write(self, writer: Writer) -> list[tuple[bytes, Attributes]]:
        """Write nodes and the page; return names and attributes."""
        numbers = self._find_known(writer)
        fresh = self._number_new(writer, numbers)
        rows: list[tuple[bytes, Attributes]] = []
        records: dict[int, bytes] = {}
        for entry, place, key in self._entries:
            node = numbers[key]
            attributes = attributes_of(node, entry)
            rows.append((entry.name, attributes))
            if node >= fresh and node not in records:
                records[node] = encode_record(self._record(attributes, entry, place))
        self._put_new(writer, numbers, records)
        if self._number is not None:
            writer.put(PAGES, page_key(self._directory.attributes.node, self._number), _encoder.encode(rows))
        return rows

    def _find_known(self, writer: Writer) -> dict[_Key, int]:
        wanted: dict[str, list[bytes]] = {SHARED: [], NAMES: []}
        for _, _, (table, key) in self._entries:
            wanted[table].append(key)
        return {
            (table, key): read_node(value)
            for table, keys in wanted.items()
            if keys
            for key, value in writer.get_many(table, sorted(keys)).items()
        }

    def _number_new(self, writer: Writer, numbers: dict[_Key, int]) -> int:
        """Number the keys that have no node yet, in entry order, and return the first of these numbers."""
        missing = dict.fromkeys(key for _, _, key in self._entries if key not in numbers)
        first = self._epoch.allocate(writer, len(missing)) if missing else 1 << 64
        numbers.update(zip(missing, range(first, first + len(missing)), strict=True))
        return first

    def _put_new(self, writer: Writer, numbers: dict[_Key, int], records: dict[int, bytes]) -> None:
        if not records:
            return
        writer.put_many(NODES, [(node_key(node), record) for node, record in records.items()])
        for wanted in (SHARED, NAMES):
            fresh = [
                (key, node_key(node)) for (table, key), node in numbers.items() if table == wanted and node in records
            ]
            if fresh:
                writer.put_many(wanted, sorted(fresh))

    def _record(self, attributes: Attributes, entry: Entry, place: Placement | None) -> TreeRecord:
        directory = self._directory
        return entry_record(attributes, entry, place, collection=directory.collection, version=directory.version)


def _key_of(directory: DirectoryNode, entry: Entry) -> _Key:
    key = shared_key(entry)
    if key is not None:
        return SHARED, key
    return NAMES, name_key(directory.attributes.node, entry.name)
