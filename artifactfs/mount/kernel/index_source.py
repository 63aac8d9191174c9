"""The source that real mounts are served from: versions out of the epoch's wire pages, the rest out of a view.

Inside versions an answer is a lookup and a copy. The catalogue above them (collections, aliases, staging
directories) is asked of the view each time, which looks for a newer log record; the kernel keeps what it was told
until the notifier says otherwise.

Threading: one thread of one worker.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.cachingstore import CachingStore
from artifactfs.blobstore.keys import pack_key
from artifactfs.blobstore.remote import FetchedContent
from artifactfs.errors import InvalidPathError
from artifactfs.mount.kernel.codes import ROOT_NODE
from artifactfs.mount.kernel.encoding import (
    FOREVER,
    NO_ENTRY,
    Owner,
    Validity,
    encode_attr,
    encode_entry,
)
from artifactfs.mount.kernel.listings import fill_changing
from artifactfs.mount.kernel.pages import copy_records
from artifactfs.mount.kernel.prepared import PreparedDirectories, encode_listing, node_attributes
from artifactfs.mount.kernel.run_views import RunViews
from artifactfs.mount.kernel.source import Space
from artifactfs.repository.runviews import NAME_PREFIX
from artifactfs.repository.trees import Trees
from artifactfs.vfs.base import NoAttributeError
from artifactfs.vfs.following import find_next_pack
from artifactfs.vfs.hidden import PARTS_NAME
from artifactfs.vfs.node_records import (
    CollectionNode,
    DifferenceNode,
    DirectoryNode,
    FileNode,
    LinkNode,
    ReferenceNode,
    ViewNode,
)
from artifactfs.vfs.nodes import NodeTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from artifactfs.mount.kernel.source import Content
    from artifactfs.repository.locked import Locked
    from artifactfs.repository.repository import Repository
    from artifactfs.vfs.attributes import Attributes
    from artifactfs.vfs.base import DetailView
    from artifactfs.vfs.catalogue_view import CatalogueView
    from artifactfs.vfs.node_records import Record
    from artifactfs.vfs.version_view import VersionView

TREE_CACHE_BYTES: Final = 1 << 20
"""Decoded stored pages that a worker keeps: they are needed while a directory is prepared, not afterwards."""
_DIFFERENCE: Final = Validity(1_000_000_000, 1_000_000_000)
_TREE_RECORDS = (FileNode, DirectoryNode, LinkNode, ReferenceNode)


class IndexSource:
    """Answers from an epoch and a view.

    Threading: one thread.
    """

    def __init__(  # noqa: PLR0913 (all that it answers from)
        self,
        repository: Repository,
        nodes: NodeTable,
        *,
        view: CatalogueView | VersionView,
        details: DetailView,
        root: DirectoryNode | None,
        owner: Owner,
        catalogue: Validity,
        holding: ExitStack,
        open_view: Callable[[dict[str, dict[str, int]], Locked | None], CatalogueView] | None = None,
    ) -> None:
        """Store what is answered from; `root` is the version that is mounted, None for a whole repository."""
        self._repository = repository
        self._nodes = nodes
        self._view = view
        self._details = details
        self._root = root
        self._owner = owner
        self._catalogue = catalogue
        self._holding = holding
        self.has_xattrs = True
        trees = Trees(repository.blobs, cache_size=TREE_CACHE_BYTES)
        self._directories = PreparedDirectories(nodes, trees, owner=owner)
        self._views: RunViews | None = None
        if open_view is not None:
            self._views = RunViews(
                nodes,
                self._directories,
                owner=owner,
                state_directory=repository.state_directory,
                open_catalogue=open_view,
                root=root,
            )
            holding.callback(self._views.close)

    def find_entry(self, parent: int, name: bytes) -> bytes | memoryview:
        """Return the `fuse_entry_out` of a name."""
        record = self._find_record(parent)
        if isinstance(record, DirectoryNode):
            found_here = self._directories.find_entry(record, name)
            if found_here is None and parent == ROOT_NODE and self._views is not None and name.startswith(NAME_PREFIX):
                return self._views.find_root(name)
            return found_here or self._find_hidden(parent, name)
        if self._views is not None:
            if isinstance(record, ViewNode):
                return self._views.find_entry(record, name)
            if record is None and name.startswith(NAME_PREFIX):
                return self._views.find_root(name)
        # What is missing here may come: nothing is said about how long it is missing.
        found = self._view.lookup(parent, name)
        return self._encode(found)

    def _find_hidden(self, parent: int, name: bytes) -> bytes:
        found = self._view.find_hidden(parent, name) if name == PARTS_NAME else None
        return NO_ENTRY if found is None else encode_entry(node_attributes(found), self._owner)

    def _encode(self, found: Attributes) -> bytes:
        return encode_entry(node_attributes(found), self._owner, validity=self._find_validity(found))

    def find_attributes(self, node: int) -> bytes:
        """Return the `fuse_attr_out` of a node."""
        record = self._find_record(node)
        if isinstance(record, _TREE_RECORDS):
            return encode_attr(node_attributes(record.attributes), self._owner)
        if isinstance(record, ViewNode) and self._views is not None:
            return self._views.find_attributes(record)
        return encode_attr(node_attributes(self._view.getattr(node)), self._owner, validity=self._catalogue)

    def read_link(self, node: int) -> bytes:
        """Return the target of a symbolic link."""
        record = self._find_record(node)
        if isinstance(record, ViewNode) and self._views is not None:
            return self._views.read_link(record)
        return record.target if isinstance(record, LinkNode) else self._view.readlink(node)

    def fill_directory(self, node: int, *, offset: int, into: memoryview) -> int:
        """Copy records of a directory."""
        record = self._find_record(node)
        if isinstance(record, DirectoryNode):
            return self._directories.fill(record, offset=offset, into=into)
        if isinstance(record, ViewNode) and self._views is not None:
            return self._views.fill_directory(record, offset=offset, into=into)
        if record is None or isinstance(record, CollectionNode):
            found = self._view.read_directory(node)
            return fill_changing(self._nodes, node, found, encode=self._encode, offset=offset, into=into)
        return copy_records([(0, self._list_hidden(node))], offset=offset, into=into)

    def _list_hidden(self, node: int) -> memoryview:
        children = []
        for name, found in self._view.read_directory(node):
            children.append((name, node_attributes(found), self._encode(found)))
        return encode_listing(node, children)

    def _find_validity(self, found: Attributes) -> Validity:
        """A version's name can go, its attributes cannot change; anything else of the catalogue can do both."""
        match self._nodes.get(found.node):
            case DirectoryNode():
                return Validity(self._catalogue.entry_ns, FOREVER.attr_ns)
            case DifferenceNode():
                return _DIFFERENCE  # one of its versions may go, and nobody tells the kernel that this goes with it
            case _:
                return self._catalogue

    def open_content(self, node: int) -> Content:
        """Return the content of a file."""
        record = self._find_record(node)
        if isinstance(record, FileNode):
            return self._repository.open_file(record, record.placement)
        if isinstance(record, ReferenceNode):
            return self._repository.references.open(record.as_entry())
        msg = "only files can be read"
        raise InvalidPathError(msg)

    def find_origin(self, node: int) -> str:
        """Return whom the content of a node comes from: a host or bucket of references; "" is the repository."""
        record = self._find_record(self._find_shown(node))
        if not isinstance(record, ReferenceNode):
            return ""
        scheme, _, rest = record.uri.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"

    def note_read(self, node: int, offset: int) -> None:
        """Have what comes after a part of a file fetched; it was read by another process."""
        with closing(self.open_content(node)) as content:
            if isinstance(content, FetchedContent):
                content.note_read(offset)
        record = self._find_record(self._find_shown(node))
        if isinstance(record, FileNode) and record.placement is not None:
            self._note_next(record.attributes.node, record.placement.pack)

    def _note_next(self, node: int, pack: bytes) -> None:
        """Have the pack fetched that is read after this one, when this one ends soon."""
        store = self._repository.store
        if not isinstance(store, CachingStore):
            return

        def find_next() -> str | None:
            found = find_next_pack(self._nodes, node, pack)
            return None if found is None else pack_key(found)

        store.note_next(pack_key(pack), find_next)

    def _find_record(self, node: int) -> Record | None:
        """Return the record of a node; None for the root of a whole repository."""
        return self._root if node == ROOT_NODE else self._nodes.get(node)

    def _find_shown(self, node: int) -> int:
        """Return the node that a node of a view shows; any other is itself."""
        record = self._find_record(node)
        return record.base if isinstance(record, ViewNode) else node

    def list_xattrs(self, node: int) -> list[bytes]:
        """Return the names of a node's attributes."""
        return list(self._details.list_xattrs(self._find_shown(node)))

    def find_xattr(self, node: int, name: bytes) -> bytes | None:
        """Return the value of an attribute, or None."""
        try:
            return self._details.get_xattr(self._find_shown(node), name)
        except NoAttributeError:
            return None

    def statfs(self) -> Space:
        """Return the space of the disk below the repository."""
        found = self._details.statfs()
        return Space(
            found.blocks, found.blocks_free, found.blocks_available, found.files, found.files_free, found.block_size
        )

    def close(self) -> None:
        """Close the view, the epoch and the repository."""
        self._holding.close()
