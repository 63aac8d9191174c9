"""A whole repository: collections, their aliases, versions and staging directories, and the versions' content.

    /                    collections
    /animals             aliases (symbolic links to versions), versions, @staging
    /animals/v1/...      a version
    /animals/.diff, /animals/v1/.view    see `hidden`; not listed
    /.artifactfs         an empty directory for the socket of `mount.port`; not listed

The part above versions is read afresh from the logs at each call, which costs one look for a newer record; so a new
version or a moved alias shows at once. Everything inside a version is `tree_view`'s.

Used by `mount`. Threading: may be shared by threads.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

import msgspec

from artifactfs.clock import format_time_ns
from artifactfs.errors import EntryNotFoundError, IntegrityError, InvalidNameError
from artifactfs.paths import find_version_number, format_version
from artifactfs.repository.trees import root_placement
from artifactfs.repository.watching import Unchanged, list_collections
from artifactfs.vfs.attributes import Attributes, Kind
from artifactfs.vfs.base import ROOT_NODE, NotADirectoryNodeError, UnknownNodeError
from artifactfs.vfs.hidden import DIFFERENCES_NAME, PARTS_NAME, Hidden, lookup_either
from artifactfs.vfs.node_records import (
    AliasNode,
    CollectionNode,
    DifferenceLinkNode,
    DifferenceNode,
    DifferencesNode,
    DirectoryNode,
    HiddenRecord,
    PartsNode,
    PortNode,
    StagingNode,
    ViewNode,
    attributes_of,
)
from artifactfs.vfs.staging_places import NoStaging
from artifactfs.vfs.tree_view import TreeView, find_in, missing_name
from artifactfs.vfs.xattrs import DRIFT, STALE, get_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from artifactfs.index.epoch import Epoch
    from artifactfs.model import Collection
    from artifactfs.repository.locked import Locked
    from artifactfs.repository.repository import Repository
    from artifactfs.vfs.attributes import StatFs
    from artifactfs.vfs.node_records import Record
    from artifactfs.vfs.staging_places import StagingPlaces

CATALOGUE_MODE = 0o755
PORT_NAME = b".artifactfs"
"""No collection has it: their names do not begin with a dot."""
_NOT_A_DIRECTORY = "this node is not a directory"
_OF_A_RUN = "this node is of the view of a run"


class CatalogueView:
    """The `View` and `DetailView` of a repository. A context manager; may be shared by threads."""

    def __init__(
        self,
        repository: Repository,
        epoch: Epoch,
        *,
        staging: StagingPlaces,
        frozen: Mapping[str, dict[str, int]] | None = None,
        shows_new: bool = False,
        locked: Locked | None = None,
    ) -> None:
        """Store what is shown.

        `frozen` holds the aliases' targets by collection when they are not to move; aliases of other collections are
        not shown then, or with `shows_new` as they are. With `locked` nothing else is shown than what it has.
        """
        self._repository = repository
        self._tree = TreeView(repository, epoch)
        self._staging = staging if locked is None else NoStaging()
        self._locked = locked
        self._hidden = Hidden(self._tree.nodes, self._get_collection)
        self._frozen = frozen
        self._shows_new = shows_new
        self._times: Unchanged[int] = Unchanged(repository)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close open files."""
        self._tree.close()

    def close(self) -> None:
        """Close open files."""
        self._tree.close()

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """Return the attributes of a name in a directory."""
        return lookup_either(self, parent, name)

    def find_hidden(self, parent: int, name: bytes) -> Attributes | None:
        """Return the attributes of a name that is not listed, or None; inside versions, listed ones go before."""
        if name not in (PARTS_NAME, DIFFERENCES_NAME) or parent == ROOT_NODE:
            return None
        record = self._tree.nodes.get(parent)
        if isinstance(record, DirectoryNode) and name == PARTS_NAME:
            return self._hidden.find_parts(record)
        if isinstance(record, CollectionNode) and name == DIFFERENCES_NAME:
            return self._hidden.find_differences(self._get_collection(record.name))
        return None

    def lookup_listed(self, parent: int, name: bytes) -> Attributes:
        """Return the attributes of a name that is listed; raises EntryNotFoundError."""
        names = self._tree.find_lately(parent, name)
        if names is not None:
            return find_in(names, name)
        if parent == ROOT_NODE and name == PORT_NAME:
            return self._port_attributes()
        if parent == ROOT_NODE:
            return self._collection_attributes(self._find_collection(name))
        record = self._tree.nodes.get(parent)
        if isinstance(record, DirectoryNode):
            return self._tree.lookup(record, name)
        if isinstance(record, CollectionNode):
            return self._lookup_in_collection(record.name, name)
        if isinstance(record, HiddenRecord):
            return self._hidden.lookup(record, name)
        if isinstance(record, StagingNode | PortNode):
            raise missing_name(name)
        raise NotADirectoryNodeError(_NOT_A_DIRECTORY)

    def getattr(self, node: int) -> Attributes:
        """Return the attributes of a node."""
        if node == ROOT_NODE:
            return Attributes(ROOT_NODE, Kind.DIRECTORY, CATALOGUE_MODE, 0, self._root_time())
        record = self._tree.nodes.get(node)
        match record:
            case CollectionNode():
                return self._collection_attributes(self._get_collection(record.name))
            case AliasNode():
                return self._alias_attributes(self._get_collection(record.collection), record.name)
            case StagingNode():
                return self._staging_attributes(self._get_collection(record.collection), record.name)
            case PortNode():
                return self._port_attributes()
            case ViewNode():
                raise UnknownNodeError(_OF_A_RUN)
            case PartsNode() | DifferencesNode() | DifferenceNode() | DifferenceLinkNode():
                return self._hidden.getattr(record)
            case _:
                return record.attributes

    def read_directory(self, node: int) -> Sequence[tuple[bytes, Attributes]]:
        """Return names and attributes in name order."""
        if node == ROOT_NODE:
            return self._read_root()
        record = self._tree.nodes.get(node)
        match record:
            case CollectionNode():
                return self._read_collection(self._get_collection(record.name))
            case DirectoryNode():
                return self._tree.read_directory(record)
            case StagingNode() | PortNode():
                return []
            case PartsNode() | DifferencesNode() | DifferenceNode():
                return self._hidden.read_directory(record)
            case _:
                raise NotADirectoryNodeError(_NOT_A_DIRECTORY)

    def readlink(self, node: int) -> bytes:
        """Return the target of a symbolic link; an alias's is where it points now."""
        record = self._tree.nodes.get(node)
        if isinstance(record, AliasNode):
            return self._alias_target(self._get_collection(record.collection), record.name)
        if isinstance(record, DifferenceLinkNode):
            return self._hidden.readlink(record)
        if isinstance(record, StagingNode):
            target = self._staging.find_link(record.collection, record.name)
            if target is None:
                raise missing_name(b"@" + record.name.encode())
            return os.fsencode(target)
        return self._tree.readlink(record)

    def read(self, node: int, *, offset: int, size: int) -> bytes:
        """Return the overlap of a range with a file, verified."""
        return self._tree.read(self._tree.nodes.get(node), offset=offset, size=size)

    def list_xattrs(self, node: int) -> Sequence[bytes]:
        """Return the names of a node's extended attributes."""
        return list(self._describe(node))

    def get_xattr(self, node: int, name: bytes) -> bytes:
        """Return the value of an extended attribute."""
        if name == DRIFT:
            return self._tree.find_drift(self._tree.nodes.get(node))
        return get_from(self._describe(node), name)

    def statfs(self) -> StatFs:
        """Return the figures of the disk below the repository."""
        return self._tree.statfs()

    def _port_attributes(self) -> Attributes:
        return Attributes(self._tree.nodes.port(), Kind.DIRECTORY, CATALOGUE_MODE, 0, 0)

    def _describe(self, node: int) -> dict[bytes, bytes]:
        if node == ROOT_NODE:
            return {b"user.artifactfs.source": os.fsencode(self._repository.location)}
        record: Record = self._tree.nodes.get(node)
        if not isinstance(record, CollectionNode):
            collection = record.collection if isinstance(record, DirectoryNode) else None
            return self._tree.describe(record, collection=collection)
        found = self._tree.describe(record, collection=record.name)
        since_ns = self._repository.unanswered_since_ns
        return found if since_ns is None else {**found, STALE: format_time_ns(since_ns).encode()}

    def _read_root(self) -> list[tuple[bytes, Attributes]]:
        found = []
        for name in sorted({*self._repository.collection_names(), *self._staging.staging_collections()}):
            if self._locked is not None and name not in self._locked.versions:
                continue
            try:
                found.append((name.encode(), self._collection_attributes(self._get_collection(name))))
            except EntryNotFoundError:
                continue  # deleted since it was listed
            except IntegrityError:
                # Its log is damaged: it shows, and entering it says so.
                node = self._tree.nodes.collection(name)
                found.append((name.encode(), Attributes(node, Kind.DIRECTORY, CATALOGUE_MODE, 0, 0)))
        return found

    def _read_collection(self, collection: Collection) -> list[tuple[bytes, Attributes]]:
        found = [(alias.encode(), self._alias_attributes(collection, alias)) for alias in collection.aliases]
        found += [
            (version.name.encode(), self._version_attributes(collection, number))
            for number, version in collection.versions.items()
        ]
        found += [
            (b"@" + name.encode(), self._staging_attributes(collection, name))
            for name in self._staging.staging_names(collection.name)
        ]
        return sorted(found)

    def _lookup_in_collection(self, collection: str, name: bytes) -> Attributes:
        state = self._get_collection(collection)
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise missing_name(name) from None
        if text.startswith("@"):
            return self._staging_attributes(state, text[1:])
        number = find_version_number(text)
        if number is not None:
            return self._version_attributes(state, number)
        return self._alias_attributes(state, text)

    def _find_collection(self, name: bytes) -> Collection:
        try:
            return self._get_collection(name.decode())
        except UnicodeDecodeError:
            raise missing_name(name) from None

    def _get_collection(self, name: str) -> Collection:
        try:
            found = self._repository.find_collection(name)
        except InvalidNameError:
            found = None
        if found is not None and self._locked is not None:
            found = self._locked.restrict(found)
        elif found is not None and self._frozen is not None:
            found = self._freeze(found)
        if found is not None:
            return found
        state = self._find_unborn(name)
        if state is None:
            raise missing_name(name.encode())
        return state

    def _freeze(self, state: Collection) -> Collection:
        """Return the state with the aliases of mount time, as far as their versions still exist."""
        if self._shows_new and state.name not in (self._frozen or {}):
            return state
        targets = (self._frozen or {}).get(state.name, {})
        aliases = {alias: number for alias, number in targets.items() if number in state.versions}
        return msgspec.structs.replace(state, aliases=aliases)

    def _find_unborn(self, name: str) -> Collection | None:
        """Return the state of a collection that has a staging directory but no version yet."""
        try:
            return self._repository.load_state(name) if self._staging.staging_names(name) else None
        except InvalidNameError:
            return None

    def _root_time(self) -> int:
        return max((self._find_time(name) for name in list_collections(self._repository)), default=0)

    def _find_time(self, name: str) -> int:
        """Return the time of the last record of a collection; 0 where there is none, or it cannot be read."""
        try:
            return self._times.find(name, self._load_time)
        except (InvalidNameError, IntegrityError):
            return 0

    def _load_time(self, name: str) -> tuple[int, int]:
        state = self._repository.load_state(name)
        return state.seq, state.time_ns if state.exists else 0

    def _collection_attributes(self, collection: Collection) -> Attributes:
        node = self._tree.nodes.collection(collection.name)
        return Attributes(node, Kind.DIRECTORY, CATALOGUE_MODE, 0, collection.time_ns)

    def _version_attributes(self, collection: Collection, number: int) -> Attributes:
        version = collection.versions.get(number)
        if version is None:
            raise missing_name(format_version(number).encode())
        node = self._tree.nodes.version(collection.name, version, root_placement(version.root))
        return attributes_of(node, version.root.as_entry())

    def _alias_attributes(self, collection: Collection, alias: str) -> Attributes:
        target = self._alias_target(collection, alias)
        node = self._tree.nodes.alias(collection.name, alias)
        return Attributes(node, Kind.SYMLINK, 0o777, len(target), collection.time_ns)

    def _alias_target(self, collection: Collection, alias: str) -> bytes:
        number = collection.aliases.get(alias)
        if number is None:
            raise missing_name(alias.encode("utf-8", "surrogateescape"))
        return format_version(number).encode()

    def _staging_attributes(self, collection: Collection, name: str) -> Attributes:
        if name not in self._staging.staging_names(collection.name):
            raise missing_name(b"@" + name.encode())
        node = self._tree.nodes.staging(collection.name, name)
        link = self._staging.find_link(collection.name, name)
        if link is not None:
            return Attributes(node, Kind.SYMLINK, 0o777, len(os.fsencode(link)), collection.time_ns)
        return Attributes(node, Kind.DIRECTORY, CATALOGUE_MODE, 0, collection.time_ns)
