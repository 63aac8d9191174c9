"""Directories of versions in wire format: prepared leaf by leaf, when they are first looked into.

A stored directory is one page, or a tree of pages whose leaves hold the entries. Each leaf becomes one page of
READDIRPLUS records in the epoch's `wire` table, when it is first listed or a name in it is first looked up; so
entering a directory does not depend on how large it is, nor mounting on how large the version is. The *head* of a
directory says which leaves it has; it comes from the upper pages alone.

Preparing gives every entry its node (`vfs`) and is done again, with the same numbers, when it was cut short. Owners
differ between mounts and are part of each record, so they are part of the key.

Threading: one thread; workers that prepare the same leaf at once write the same.
"""

from __future__ import annotations

import stat
import struct
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

import msgspec
from cachetools import LRUCache
from msgspec import Struct

from artifactfs.errors import IndexCorruptError, MalformedError
from artifactfs.index.epoch import WIRE
from artifactfs.model import PageRef, Placement
from artifactfs.mount.kernel.encoding import (
    NO_ATTRIBUTES,
    NodeAttributes,
    Owner,
    encode_entry,
    encode_record,
)
from artifactfs.mount.kernel.pages import copy_records, encode_page, find_in_page
from artifactfs.vfs.attributes import Kind
from artifactfs.vfs.parts import iter_chosen
from artifactfs.vfs.preparation import PagePreparation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.repository.trees import Trees
    from artifactfs.vfs.attributes import Attributes
    from artifactfs.vfs.node_records import DirectoryNode
    from artifactfs.vfs.nodes import NodeTable

DOTS: Final = 2
"""Records before the entries: `.` and `..`."""
KEPT_PAGE_BYTES: Final = 8 << 20
KEPT_HEADS: Final = 1024
_HEAD: Final = 2**64 - 1
_KEY = struct.Struct(">QQII")
FILE_TYPES: Final = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}


class Leaf(Struct, frozen=True, array_like=True):
    """One page of entries: number of its first entry, its last name, and where it is stored."""

    first: int
    last: bytes
    tree: bytes
    placement: Placement | None


class Head(Struct, frozen=True, array_like=True):
    """The leaves of a directory, in order: first entry numbers and last names beside them, for bisection."""

    firsts: list[int]
    lasts: list[bytes]
    leaves: list[Leaf]


_encoder = msgspec.msgpack.Encoder()
_decode_head = msgspec.msgpack.Decoder(Head)


def node_attributes(found: Attributes) -> NodeAttributes:
    """Return attributes of a view in the transport's terms."""
    mode = FILE_TYPES[found.kind] | found.mode
    return NodeAttributes(found.node, mode, found.size, found.mtime_ns, found.nlink)


class PreparedDirectories:
    """Reads and prepares directories of versions.

    Threading: one thread.
    """

    def __init__(self, nodes: NodeTable, trees: Trees, *, owner: Owner) -> None:
        """Store the tables, the trees, and who owns every file."""
        self._nodes = nodes
        self._environment = nodes.epoch.environment
        self._trees = trees
        self._owner = owner
        self._heads: LRUCache[int, Head] = LRUCache(KEPT_HEADS)
        self._pages: LRUCache[tuple[int, int], memoryview] = LRUCache(KEPT_PAGE_BYTES, getsizeof=len)

    def find_entry(self, directory: DirectoryNode, name: bytes) -> memoryview | None:
        """Return the `fuse_entry_out` of a name in a directory, or None.

        Raises:
            IntegrityError: the directory is missing from the store, or damaged.
        """
        head = self._get_head(directory)
        number = bisect_left(head.lasts, name) if len(head.leaves) > 1 else 0
        if number >= len(head.leaves):
            return None
        return find_in_page(self._get_page(directory, head, number), name)

    def fill(self, directory: DirectoryNode, *, offset: int, into: memoryview) -> int:
        """Copy records of a directory from number `offset` on, as many as fit; return the bytes copied.

        Raises:
            IntegrityError: the directory is missing from the store, or damaged.
        """
        head = self._get_head(directory)
        filled = 0
        if offset < DOTS:
            filled = copy_records([(0, encode_listing(directory.attributes.node, []))], offset=offset, into=into)
            if filled == 0:
                return 0
            offset = DOTS
        return filled + copy_records(
            self._iter_pages(directory, head, offset - DOTS), offset=offset, into=into[filled:]
        )

    def _iter_pages(self, directory: DirectoryNode, head: Head, ordinal: int) -> Iterator[tuple[int, memoryview]]:
        start = max(bisect_right(head.firsts, ordinal) - 1, 0)
        for number in range(start, len(head.leaves)):
            yield head.firsts[number] + DOTS, self._get_page(directory, head, number)

    def _get_head(self, directory: DirectoryNode) -> Head:
        node = directory.attributes.node
        head = self._heads.get(node)
        if head is None:
            head = self._heads[node] = self._load_head(node) or self._prepare_head(directory)
        return head

    def _load_head(self, node: int) -> Head | None:
        data = self._environment.get(WIRE, _KEY.pack(node, _HEAD, 0, 0))
        if data is None:
            return None
        try:
            return _decode_head.decode(data)
        except msgspec.MsgspecError as error:
            msg = f"the directory {node:#x} in the index does not decode: {error}"
            raise IndexCorruptError(msg, hint="run: artifactfs index rebuild, and mount again") from error

    def _prepare_head(self, directory: DirectoryNode) -> Head:
        leaves: list[Leaf] = []
        first = 0
        for last, count, tree, placement in self._iter_leaves(directory.tree, directory.placement):
            leaves.append(Leaf(first, last, tree, placement))
            first += count
        head = Head([leaf.first for leaf in leaves], [leaf.last for leaf in leaves], leaves)
        data, key = _encoder.encode(head), _KEY.pack(directory.attributes.node, _HEAD, 0, 0)
        self._environment.write(lambda writer: writer.put(WIRE, key, data))
        return head

    def _iter_leaves(
        self, tree: bytes, placement: Placement | None
    ) -> Iterator[tuple[bytes, int, bytes, Placement | None]]:
        stored = self._trees.load_page(tree, placement)
        if stored.page.level == 0:
            yield stored.page.last, len(stored.page.items), tree, placement
            return
        for item, place in zip(stored.page.items, stored.placements, strict=True):
            if not isinstance(item, PageRef):
                msg = "an upper page of a directory holds entries"
                raise MalformedError(msg)
            if stored.page.level == 1:
                yield item.last, item.entry_count, item.tree, place
            else:
                yield from self._iter_leaves(item.tree, place)

    def _get_page(self, directory: DirectoryNode, head: Head, number: int) -> memoryview:
        node = directory.attributes.node
        page = self._pages.get((node, number))
        if page is None:
            key = _KEY.pack(node, number, self._owner.uid, self._owner.gid)
            data = self._environment.get(WIRE, key) or self._prepare_page(directory, head.leaves[number], number)
            page = memoryview(data)
            if len(data) <= KEPT_PAGE_BYTES:
                self._pages[node, number] = page
        return page

    def _prepare_page(self, directory: DirectoryNode, leaf: Leaf, number: int) -> bytes:
        stored = self._trees.load_page(leaf.tree, leaf.placement)
        chosen = iter_chosen(self._trees, directory, stored)
        preparation = PagePreparation(self._nodes, directory, chosen, number=None)
        rows = self._environment.write(preparation.write)
        offset = leaf.first + DOTS
        records = [self._record(name, found, at) for at, (name, found) in enumerate(rows, offset + 1)]
        data = encode_page(records)
        key = _KEY.pack(directory.attributes.node, number, self._owner.uid, self._owner.gid)
        self._environment.write(lambda writer: writer.put(WIRE, key, data))
        return data

    def _record(self, name: bytes, found: Attributes, offset: int) -> bytes:
        attributes = node_attributes(found)
        entry = encode_entry(attributes, self._owner)
        return encode_record(name, entry, mode=attributes.mode, node=found.node, offset=offset)


def encode_listing(node: int, children: list[tuple[bytes, NodeAttributes, bytes]]) -> memoryview:
    """Return the page of a directory that is not prepared, from (name, attributes, `fuse_entry_out`) of its entries."""
    names = (b".", b"..")
    records = [
        encode_record(name, NO_ATTRIBUTES, mode=stat.S_IFDIR, node=node, offset=offset)
        for offset, name in enumerate(names, 1)
    ]
    records += [
        encode_record(name, entry, mode=attributes.mode, node=attributes.node, offset=offset)
        for offset, (name, attributes, entry) in enumerate(children, DOTS + 1)
    ]
    return memoryview(encode_page(records))
