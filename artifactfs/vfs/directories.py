"""Directories of versions: prepared in the epoch when they are first entered, and kept decoded while used.

A stored directory is one page, or a tree of pages whose leaves hold the entries. Each leaf becomes one page of the
epoch when it is first listed or a name in it is first looked up: its entries get their nodes, and names and
attributes are written, in one write transaction. What leaves a directory has is its *head*, which comes from the upper
pages alone. So neither mounting nor entering depends on how large a version or a directory is, and memory holds the
leaves used last. Preparing can be cut short at any point and done again: what was written keeps its numbers.

Used by the views. Threading: Directories may be shared by threads.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import msgspec
from cachetools import LRUCache
from msgspec import Struct

from artifactfs.errors import IndexCorruptError, MalformedError
from artifactfs.index.epoch import PAGES, page_key
from artifactfs.model import PageRef, Placement
from artifactfs.vfs.attributes import Attributes
from artifactfs.vfs.parts import iter_chosen
from artifactfs.vfs.preparation import PagePreparation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.repository.trees import Trees
    from artifactfs.storedpage import StoredPage
    from artifactfs.vfs.node_records import DirectoryNode
    from artifactfs.vfs.nodes import NodeTable

CACHED_ENTRIES: Final = 100_000
"""Entries that are kept decoded: about 40 MB."""
_LOCKS: Final = 64
_HEAD: Final = 2**64 - 1
"""Where the head of a directory is among its pages; the others are under the ordinal of their first entry."""

Names = dict[bytes, Attributes]


class Leaf(Struct, frozen=True, array_like=True):
    """One page of entries: ordinal of its first entry, its last name, and where it is stored."""

    first: int
    last: bytes
    tree: bytes
    placement: Placement | None


class Head(Struct, frozen=True, array_like=True):
    """The leaves of a directory in name order, and their last names beside them, to be bisected."""

    lasts: list[bytes]
    leaves: list[Leaf]


Cached = Names | Head
_encoder = msgspec.msgpack.Encoder()
_decode_head = msgspec.msgpack.Decoder(Head)
_decode_page = msgspec.msgpack.Decoder(list[tuple[bytes, Attributes]])


class Directories:
    """Prepares and reads directories of versions. May be shared by threads."""

    def __init__(self, nodes: NodeTable, trees: Trees, *, cached_entries: int = CACHED_ENTRIES) -> None:
        self._nodes = nodes
        self._trees = trees
        self._guard = threading.Lock()
        self._preparing = tuple(threading.Lock() for _ in range(_LOCKS))
        # A directory of one leaf has its names under its node; one of several a head there, and names beside.
        self._cache: LRUCache[int | tuple[int, int], Cached] = LRUCache(cached_entries, getsizeof=_weigh)

    def find(self, node: int, name: bytes) -> Names | None:
        """Return the names of the leaf that holds `name`, or would, if that is in memory."""
        with self._guard:
            found = self._cache.get(node)
            if isinstance(found, Head):
                leaf = _leaf_for(found, name)
                found = {} if leaf is None else self._cache.get((node, leaf.first))
        return found  # type: ignore[return-value]  # heads are under nodes only

    def lookup(self, record: DirectoryNode, name: bytes) -> Attributes | None:
        """Return the attributes of a name, preparing the leaf that holds it if need be; None when there is none.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: its tree is missing or damaged.
            IndexCorruptError: what was prepared cannot be read.
        """
        names = self.find(record.attributes.node, name)
        if names is None:
            head = self._get_head(record)
            leaf = _leaf_for(head, name)
            names = {} if leaf is None else self._get_names(record, head, leaf)
        return names.get(name)

    def iter_leaves(self, record: DirectoryNode) -> Iterator[Names]:
        """Yield names and attributes of a directory leaf by leaf, in name order, preparing what is not yet.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: its tree is missing or damaged.
            IndexCorruptError: what was prepared cannot be read.
        """
        whole = self._find(record.attributes.node)
        if isinstance(whole, dict):
            yield whole
            return
        head = whole or self._get_head(record)
        for leaf in head.leaves:
            yield self._get_names(record, head, leaf)

    def _find(self, key: int | tuple[int, int]) -> Cached | None:
        with self._guard:
            return self._cache.get(key)

    def _keep(self, key: int | tuple[int, int], value: Cached) -> None:
        with self._guard:
            if _weigh(value) <= self._cache.maxsize:
                self._cache[key] = value

    def _get_head(self, record: DirectoryNode) -> Head:
        node = record.attributes.node
        found = self._find(node)
        if isinstance(found, Head):
            return found
        head = self._load_head(node)
        if head is None:
            with self._preparing[node % _LOCKS]:  # only saves work: two who prepare one directory write the same
                head = self._load_head(node) or self._prepare_head(record)
        if len(head.leaves) != 1:
            self._keep(node, head)
        return head

    def _load_head(self, node: int) -> Head | None:
        data = self._nodes.epoch.environment.get(PAGES, page_key(node, _HEAD))
        return self._decode(_decode_head, data, node) if data is not None else None

    def _prepare_head(self, record: DirectoryNode) -> Head:
        node = record.attributes.node
        top = self._trees.load_page(record.tree, record.placement)
        if top.page.level == 0:
            # The common case: the one leaf is at hand, and is written together with the head.
            leaf = Leaf(0, top.page.last, record.tree, record.placement)
            head = Head([leaf.last], [leaf])
            self._keep(node, self._prepare(record, leaf, top, head=head))
            return head
        leaves = list(_iter_leaves(self._trees, top, 0))
        head = Head([leaf.last for leaf in leaves], leaves)
        data = _encoder.encode(head)
        self._nodes.epoch.environment.write(lambda writer: writer.put(PAGES, page_key(node, _HEAD), data))
        return head

    def _get_names(self, record: DirectoryNode, head: Head, leaf: Leaf) -> Names:
        node = record.attributes.node
        key = node if len(head.leaves) == 1 else (node, leaf.first)
        found = self._find(key)
        if isinstance(found, dict):
            return found
        names = self._load(node, leaf)
        if names is None:
            with self._preparing[hash(key) % _LOCKS]:
                names = self._load(node, leaf)
                if names is None:
                    names = self._prepare(record, leaf, self._trees.load_page(leaf.tree, leaf.placement))
        self._keep(key, names)
        return names

    def _load(self, node: int, leaf: Leaf) -> Names | None:
        data = self._nodes.epoch.environment.get(PAGES, page_key(node, leaf.first))
        if data is None:
            return None
        rows = self._decode(_decode_page, data, node)
        return dict(rows)

    def _prepare(self, record: DirectoryNode, leaf: Leaf, stored: StoredPage, *, head: Head | None = None) -> Names:
        node = record.attributes.node
        chosen = iter_chosen(self._trees, record, stored)
        preparation = PagePreparation(self._nodes, record, chosen, number=leaf.first)
        encoded = _encoder.encode(head) if head is not None else None

        def write(writer: Writer) -> list[tuple[bytes, Attributes]]:
            rows = preparation.write(writer)
            if encoded is not None:
                writer.put(PAGES, page_key(node, _HEAD), encoded)
            return rows

        return dict(self._nodes.epoch.environment.write(write))

    def _decode(self, decoder: msgspec.msgpack.Decoder[Decoded], data: bytes, node: int) -> Decoded:
        try:
            return decoder.decode(data)
        except msgspec.MsgspecError as error:
            msg = f"the directory {node:#x} in the index does not decode: {error}"
            raise IndexCorruptError(msg, hint="run: artifactfs index rebuild, and mount again") from error


if TYPE_CHECKING:
    from typing import TypeVar

    from artifactfs.index.environment import Writer

    Decoded = TypeVar("Decoded")


def _weigh(value: Cached) -> int:
    return 1 + len(value.leaves if isinstance(value, Head) else value)


def _leaf_for(head: Head, name: bytes) -> Leaf | None:
    number = bisect_left(head.lasts, name) if len(head.leaves) != 1 else 0
    return head.leaves[number] if number < len(head.leaves) else None


def _iter_leaves(trees: Trees, stored: StoredPage, first: int) -> Iterator[Leaf]:
    """Yield the leaves below an upper page, reading only the pages above them."""
    for item, place in zip(stored.page.items, stored.placements, strict=True):
        if not isinstance(item, PageRef):
            msg = "an upper page of a directory holds entries"
            raise MalformedError(msg)
        if stored.page.level == 1:
            yield Leaf(first, item.last, item.tree, place)
        else:
            yield from _iter_leaves(trees, trees.load_page(item.tree, place), first)
        first += item.entry_count
