"""One version as the root of a mount. Nothing in it ever changes.

Used by `mount`. Threading: may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from msgspec import structs

from artifactfs.vfs.base import ROOT_NODE, NotADirectoryNodeError, UnknownNodeError
from artifactfs.vfs.hidden import PARTS_NAME, Hidden, lookup_either
from artifactfs.vfs.node_records import CatalogueRecord, DirectoryNode, HiddenRecord, PartsNode, PortNode, ViewNode
from artifactfs.vfs.parts import find_top
from artifactfs.vfs.tree_view import TreeView, find_in
from artifactfs.vfs.xattrs import DRIFT, get_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.index.epoch import Epoch
    from artifactfs.model import Collection, Version
    from artifactfs.repository.repository import Repository
    from artifactfs.vfs.attributes import Attributes, StatFs
    from artifactfs.vfs.node_records import TreeRecord


class VersionView:
    """The `View` and `DetailView` of a single version. A context manager; may be shared by threads."""

    def __init__(
        self,
        repository: Repository,
        epoch: Epoch,
        *,
        collection: Collection,
        version: Version,
        is_apart: bool = False,
    ) -> None:
        """Store what is shown; with `is_apart` with nodes of its own (`Apart`), else also `.view` (`hidden`)."""
        self._tree = TreeView(repository, epoch)
        shown = structs.replace(collection, versions={version.number: version})
        self._hidden = None if is_apart else Hidden(self._tree.nodes, lambda _: shown)
        self._is_apart = is_apart
        self._collection = collection
        self._version = version
        self._root: DirectoryNode | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close open files."""
        self._tree.close()

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """Return the attributes of a name in a directory."""
        return lookup_either(self, parent, name)

    def find_hidden(self, parent: int, name: bytes) -> Attributes | None:
        """Return the attributes of a name that is not listed, or None; listed ones go before."""
        if name != PARTS_NAME or self._hidden is None:
            return None
        return self._hidden.find_parts(self._directory(parent))

    def lookup_listed(self, parent: int, name: bytes) -> Attributes:
        """Return the attributes of a name that is listed; raises EntryNotFoundError."""
        names = self._tree.find_lately(parent, name)
        if names is not None:
            return find_in(names, name)
        parts = None if parent == ROOT_NODE else self._tree.nodes.get(parent)
        if isinstance(parts, PartsNode) and self._hidden is not None:
            return self._hidden.lookup(parts, name)
        record = self._directory(parent)
        names = self._tree.find_lately(record.attributes.node, name)
        return find_in(names, name) if names is not None else self._tree.lookup(record, name)

    def getattr(self, node: int) -> Attributes:
        """Return the attributes of a node."""
        parts = None if node == ROOT_NODE else self._tree.nodes.get(node)
        if isinstance(parts, PartsNode) and self._hidden is not None:
            return self._hidden.getattr(parts)
        found = self._record(node).attributes
        return found if node != ROOT_NODE else structs.replace(found, node=ROOT_NODE)

    def read_directory(self, node: int) -> Sequence[tuple[bytes, Attributes]]:
        """Return names and attributes in name order."""
        if node != ROOT_NODE and isinstance(self._tree.nodes.get(node), PartsNode):
            return []
        return self._tree.read_directory(self._directory(node))

    def readlink(self, node: int) -> bytes:
        """Return the target of a symbolic link."""
        return self._tree.readlink(self._record(node))

    def read(self, node: int, *, offset: int, size: int) -> bytes:
        """Return the overlap of a range with a file, verified."""
        return self._tree.read(self._record(node), offset=offset, size=size)

    def list_xattrs(self, node: int) -> Sequence[bytes]:
        """Return the names of a node's extended attributes."""
        return list(self._describe(node))

    def get_xattr(self, node: int, name: bytes) -> bytes:
        """Return the value of an extended attribute."""
        if name == DRIFT:
            return self._tree.find_drift(self._record(node))
        return get_from(self._describe(node), name)

    def statfs(self) -> StatFs:
        """Return the figures of the disk below the repository."""
        return self._tree.statfs()

    def _describe(self, node: int) -> dict[bytes, bytes]:
        record = self._record(node)
        collection = self._collection.name if isinstance(record, DirectoryNode) else None
        return self._tree.describe(record, collection=collection)

    def _directory(self, node: int) -> DirectoryNode:
        record = self._record(node)
        if isinstance(record, DirectoryNode):
            return record
        msg = "this node is not a directory"
        raise NotADirectoryNodeError(msg)

    def _record(self, node: int) -> TreeRecord:
        if node == ROOT_NODE:
            self._root = self._root or self._make_root()
            return self._root
        record = self._tree.nodes.get(node)
        if isinstance(record, CatalogueRecord | ViewNode | PortNode | HiddenRecord):
            # The epoch is shared with mounts of the whole repository; this one never gave the number out.
            msg = f"node {node:#x} is not of this version"
            raise UnknownNodeError(msg)
        return record

    def _make_root(self) -> DirectoryNode:
        return find_top(self._tree.nodes, self._collection.name, self._version, is_apart=self._is_apart)
