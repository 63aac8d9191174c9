"""The node numbers that an epoch has given out, and what it remembers about each.

Used by the views. Threading: NodeTable may be shared by threads.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from artifactfs.index.epoch import NODES, SHARED, Epoch, node_key, read_node
from artifactfs.model import Placement, Version
from artifactfs.vfs.node_records import (
    AliasNode,
    CollectionNode,
    DifferenceLinkNode,
    DifferenceNode,
    DifferencesNode,
    DirectoryNode,
    PartsNode,
    PortNode,
    Record,
    StagingNode,
    ViewNode,
    decode_record,
    directory_record,
    encode_record,
)

if TYPE_CHECKING:
    from artifactfs.index.environment import Writer

CACHED_RECORDS: Final = 32_768


class NodeTable:
    """Reads and makes node records. May be shared by threads."""

    def __init__(self, epoch: Epoch) -> None:
        self.epoch = epoch
        self._guard = threading.Lock()
        self._records: LRUCache[int, Record] = LRUCache(CACHED_RECORDS)

    def get(self, node: int) -> Record:
        """Return the record of a node.

        Raises:
            UnknownNodeError: the epoch did not give the number out.
        """
        with self._guard:
            found = self._records.get(node)
        if found is None:
            found = decode_record(self.epoch.get_node(node))
            with self._guard:
                self._records[node] = found
        return found

    def collection(self, name: str) -> int:
        """Return the node of a collection."""
        return self._get_or_make(b"c" + name.encode(), lambda node: CollectionNode(node, name))

    def alias(self, collection: str, name: str) -> int:
        """Return the node of an alias."""
        key = _hashed(b"a", collection, name)
        return self._get_or_make(key, lambda node: AliasNode(node, collection, name))

    def staging(self, collection: str, name: str) -> int:
        """Return the node of the place of a staging directory."""
        key = _hashed(b"s", collection, name)
        return self._get_or_make(key, lambda node: StagingNode(node, collection, name))

    def port(self) -> int:
        """Return the node of the place of the socket for containers."""
        return self._get_or_make(b"p", PortNode)

    def parts(self, collection: str, version: Version) -> int:
        """Return the node of `.view` of a version."""
        key = _hashed(b"i", collection, str(version.number), version.root.tree)
        return self._get_or_make(key, lambda node: PartsNode(node, collection, version.number))

    def differences(self, collection: str) -> int:
        """Return the node of `.diff` of a collection."""
        return self._get_or_make(_hashed(b"d", collection), lambda node: DifferencesNode(node, collection))

    def difference(self, collection: str, old: int, new: int) -> int:
        """Return the node of what differs between two versions."""
        key = _hashed(b"e", collection, str(old), str(new))
        return self._get_or_make(key, lambda node: DifferenceNode(node, collection, old, new))

    def difference_link(self, collection: str, name: str) -> int:
        """Return the node of a link to what differs between what two names mean."""
        key = difference_links_key(collection) + hashlib.sha256(name.encode()).digest()
        return self._get_or_make(key, lambda node: DifferenceLinkNode(node, collection, name))

    def part(self, names: tuple[str, ...], make: Maker) -> int:
        """Return the node of the top directory of a part; the names say which."""
        return self._get_or_make(_hashed(b"t", *names), make)

    def in_view(self, view: str, base: int, path: bytes) -> int:
        """Return the node that shows the node `base` in the view of a run.

        Numbers are given out, not computed from both: a view's number in them would be used again by a later run, while
        the kernel still holds the nodes of the earlier one.
        """
        key = b"w" + hashlib.sha256(f"{view}\0{base}".encode()).digest()
        return self._get_or_make(key, lambda node: ViewNode(node, view, base, path))

    def version(self, collection: str, version: Version, placement: Placement | None) -> int:
        """Return the node of the top directory of a version."""
        entry = version.root.as_entry()

        def make(node: int) -> DirectoryNode:
            return directory_record(node, entry, placement, collection=collection, version=version.number)

        # With its tree: a repository that was restored from a copy may give the number again, to something else.
        return self._get_or_make(_hashed(b"v", collection, str(version.number), version.root.tree), make)

    def _get_or_make(self, key: bytes, make: Maker) -> int:
        found = self.epoch.environment.get(SHARED, key)
        if found is not None:
            return read_node(found)
        return self.epoch.environment.write(lambda writer: self._make(writer, key, make))

    def _make(self, writer: Writer, key: bytes, make: Maker) -> int:
        found = writer.get(SHARED, key)
        if found is not None:
            return read_node(found)
        node = self.epoch.allocate(writer, 1)
        writer.put(SHARED, key, node_key(node))
        writer.put(NODES, node_key(node), encode_record(make(node)))
        return node


if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[[int], Record]


def difference_links_key(collection: str) -> bytes:
    """Return what the keys of all nodes of `difference_link` of a collection begin with."""
    return _hashed(b"x", collection)


def _hashed(kind: bytes, *parts: str) -> bytes:
    return kind + hashlib.sha256("\0".join(parts).encode()).digest()
