"""Directories of versions: prepared in the epoch when they are first entered, and kept decoded while used.

Preparing gives every entry a node and writes names and attributes in pages, one write transaction for each stored
page, so neither mounting nor entering depends on how large the version is. It can be cut short at any point and done
again: what was written keeps its numbers.

Used by the views. Threading: Directories may be shared by threads.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import msgspec
from cachetools import LRUCache

from artifactfs.errors import IndexCorruptError
from artifactfs.index.epoch import NAMES, NODES, PAGES, SHARED, name_key, node_key, page_key, read_node
from artifactfs.model import DirectoryEntry, PageRef
from artifactfs.vfs.attributes import Attributes
from artifactfs.vfs.nodes import DirectoryNode, NodeTable, attributes_of, encode_record, entry_record, shared_key

if TYPE_CHECKING:
    from artifactfs.index.environment import Writer
    from artifactfs.manifest import StoredPage
    from artifactfs.model import Entry, Placement
    from artifactfs.repository.trees import Trees

CACHED_ENTRIES: Final = 200_000
"""Entries of directories that are kept decoded, about 50 MB; one larger directory is kept besides."""
_COMPLETE: Final = 2**64 - 1
"""Ordinal of the page that says how many pages a directory has; written last."""

Names = dict[bytes, Attributes]
_encoder = msgspec.msgpack.Encoder()
_decode_page = msgspec.msgpack.Decoder(list[tuple[bytes, Attributes]])


class Directories:
    """Prepares and reads directories of versions. May be shared by threads."""

    def __init__(self, nodes: NodeTable, trees: Trees) -> None:
        self._nodes = nodes
        self._trees = trees
        self._guard = threading.Lock()
        self._preparing = threading.Lock()
        self._cache: LRUCache[int, Names] = LRUCache(CACHED_ENTRIES, getsizeof=lambda names: len(names) + 1)
        self._large: tuple[int, Names] | None = None

    def find(self, node: int) -> Names | None:
        """Return the names in a directory if they are in memory."""
        with self._guard:
            found = self._cache.get(node)
        if found is None and self._large is not None and self._large[0] == node:
            return self._large[1]
        return found

    def enter(self, record: DirectoryNode) -> Names:
        """Return names and attributes of a directory in name order, preparing it first if need be.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: its tree is missing or damaged.
            IndexCorruptError: what was prepared cannot be read.
        """
        node = record.attributes.node
        names = self._load(node)
        if names is None:
            with self._preparing:
                names = self._load(node) or self._prepare(record)
        self._keep(node, names)
        return names

    def _keep(self, node: int, names: Names) -> None:
        if len(names) < CACHED_ENTRIES // 2:
            with self._guard:
                self._cache[node] = names
        else:
            self._large = (node, names)

    def _load(self, node: int) -> Names | None:
        with self._nodes.epoch.environment.reading() as get:
            complete = get(PAGES, page_key(node, _COMPLETE))
            if complete is None:
                return None
            pages = [get(PAGES, page_key(node, number)) for number in range(read_node(complete))]
        try:
            return {name: found for page in pages for name, found in _decode_page.decode(page or b"")}
        except msgspec.MsgspecError as error:
            msg = f"the directory {node:#x} in the index does not decode: {error}"
            raise IndexCorruptError(msg, hint="run: artifactfs index rebuild, and mount again") from error

    def _prepare(self, record: DirectoryNode) -> Names:
        node = record.attributes.node
        directory = DirectoryEntry(b"/", 0, 0, record.tree, record.content, record.size, record.count)
        environment = self._nodes.epoch.environment
        names: Names = {}
        count = 0
        for stored in self._trees.iter_pages(directory, record.placement):
            page = PagePreparation(self._nodes, record, stored, number=count)
            names.update(environment.write(page.write))
            count += 1
        environment.write(lambda writer: writer.put(PAGES, page_key(node, _COMPLETE), node_key(count)))
        return names


class PagePreparation:
    """Gives nodes to the entries of one stored page. Its `write` runs inside a write transaction.

    `number` is where names and attributes are kept for the views; None when the caller keeps them in a form of its own.
    """

    def __init__(self, nodes: NodeTable, directory: DirectoryNode, stored: StoredPage, *, number: int | None) -> None:
        self._nodes = nodes
        self._directory = directory
        self._number = number
        self._entries: list[tuple[Entry, Placement | None, bytes | None]] = [
            (item, place, shared_key(item))
            for item, place in zip(stored.page.items, stored.placements, strict=True)
            if not isinstance(item, PageRef)
        ]

    def write(self, writer: Writer) -> list[tuple[bytes, Attributes]]:
        """Write nodes, names and the page; return names and attributes."""
        node = self._directory.attributes.node
        known = [self._find(writer, entry, key) for entry, _, key in self._entries]
        fresh = self._number_new(writer, known)
        rows: list[tuple[bytes, Attributes]] = []
        for (entry, place, key), found in zip(self._entries, known, strict=True):
            number = found if found is not None else fresh[_identity(entry, key)]
            rows.append((entry.name, attributes_of(number, entry)))
            if found is None:
                self._put(writer, number, entry, place, key)
        if self._number is not None:
            writer.put(PAGES, page_key(node, self._number), _encoder.encode(rows))
        return rows

    def _find(self, writer: Writer, entry: Entry, key: bytes | None) -> int | None:
        if key is not None:
            found = writer.get(SHARED, key)
        else:
            found = writer.get(NAMES, name_key(self._directory.attributes.node, entry.name))
        return read_node(found) if found is not None else None

    def _number_new(self, writer: Writer, known: list[int | None]) -> dict[tuple[bool, bytes], int]:
        wanted = {
            _identity(entry, key): None
            for (entry, _, key), found in zip(self._entries, known, strict=True)
            if found is None
        }
        first = self._nodes.epoch.allocate(writer, len(wanted)) if wanted else 0
        return {key: first + index for index, key in enumerate(wanted)}

    def _put(self, writer: Writer, node: int, entry: Entry, place: Placement | None, key: bytes | None) -> None:
        directory = self._directory
        record = entry_record(node, entry, place, collection=directory.collection, version=directory.version)
        writer.put(NODES, node_key(node), encode_record(record))
        if key is not None:
            writer.put(SHARED, key, node_key(node))
        else:
            writer.put(NAMES, name_key(directory.attributes.node, entry.name), node_key(node))


def _identity(entry: Entry, key: bytes | None) -> tuple[bool, bytes]:
    """Return what gets one node: equal content for files, the name for directories."""
    return (False, entry.name) if key is None else (True, key)
