"""Giving nodes to the entries of one stored page.

An entry that is equal to one met before, in whatever version, gets its node; a directory has one for each place, and
below an overlay every entry has.
What needs time is done before the write transaction: there is one writer at a time on the machine.

Used by `directories` and by transports that keep pages in a form of their own. Threading: a PagePreparation belongs to
one thread.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.index.epoch import NAMES, NODES, PAGES, SHARED, name_key, page_key, read_node
from artifactfs.vfs.node_records import Apart, attributes_of, encode_record, entry_record, shared_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.index.environment import Writer
    from artifactfs.vfs.attributes import Attributes
    from artifactfs.vfs.node_records import DirectoryNode, TreeRecord
    from artifactfs.vfs.nodes import NodeTable
    from artifactfs.vfs.parts import Chosen

_encoder: Final = msgspec.msgpack.Encoder()
_pack_node: Final = struct.Struct(">Q").pack


class PagePreparation:
    """Gives nodes to the entries of one stored page. Its `write` runs inside a write transaction.

    `number` is the ordinal of the first entry, under which names and attributes are kept for the views; None when the
    caller keeps them in a form of its own.
    """

    def __init__(
        self, nodes: NodeTable, directory: DirectoryNode, chosen: Iterable[Chosen], *, number: int | None
    ) -> None:
        """Store what is to be written; `chosen` is what `iter_chosen` yields of a stored page."""
        self._epoch = nodes.epoch
        self._directory = directory
        self._number = number
        parent = directory.attributes.node
        is_apart = isinstance(directory.part, Apart)
        # Each entry with the table and key under which its node is found: by content, directories by place.
        self._entries: list[tuple[Chosen, str, bytes]] = []
        keys: dict[str, set[bytes]] = {SHARED: set(), NAMES: set()}
        for each in chosen:
            shared = None if is_apart else shared_key(each[0])
            table, key = (SHARED, shared) if shared is not None else (NAMES, name_key(parent, each[0].name))
            self._entries.append((each, table, key))
            keys[table].add(key)
        self._keys = {table: sorted(found) for table, found in keys.items() if found}

    def write(self, writer: Writer) -> list[tuple[bytes, Attributes]]:
        """Write nodes and the page; return names and attributes."""
        known = {table: writer.get_many(table, keys) for table, keys in self._keys.items()}
        missing = sum(len(keys) - len(known[table]) for table, keys in self._keys.items())
        number = self._epoch.allocate(writer, missing) if missing else 0
        fresh: dict[str, list[tuple[bytes, bytes]]] = {NODES: [], SHARED: [], NAMES: []}
        rows: list[tuple[bytes, Attributes]] = []
        for (entry, place, part), table, key in self._entries:
            found = known[table].get(key)
            if found is not None:
                rows.append((entry.name, attributes_of(read_node(found), entry)))
                continue
            node = known[table][key] = _pack_node(number)
            attributes = attributes_of(number, entry)
            rows.append((entry.name, attributes))
            fresh[table].append((key, node))
            fresh[NODES].append((node, encode_record(self._record(attributes, (entry, place, part)))))
            number += 1
        self._put(writer, fresh, rows)
        return rows

    def _put(
        self, writer: Writer, fresh: dict[str, list[tuple[bytes, bytes]]], rows: list[tuple[bytes, Attributes]]
    ) -> None:
        for table, items in fresh.items():
            if items:
                writer.put_many(table, sorted(items))
        if self._number is not None:
            writer.put(PAGES, page_key(self._directory.attributes.node, self._number), _encoder.encode(rows))

    def _record(self, attributes: Attributes, chosen: Chosen) -> TreeRecord:
        entry, place, part = chosen
        directory = self._directory
        return entry_record(
            attributes, entry, place, collection=directory.collection, version=directory.version, part=part
        )
