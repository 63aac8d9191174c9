"""What an epoch remembers about each node, as records in its `nodes` table.

Used by the views. Threading: NodeTable may be shared by threads; records are immutable.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from typing import TYPE_CHECKING, Final

import msgspec
from cachetools import LRUCache
from msgspec import Struct

from artifactfs.errors import IndexCorruptError
from artifactfs.index.epoch import NODES, SHARED, Epoch, node_key, read_node
from artifactfs.model import (
    DirectoryEntry,
    Entry,
    FileEntry,
    Placement,
    ReferenceEntry,
    SymlinkEntry,
    Validator,
    Version,
)
from artifactfs.vfs.attributes import Attributes, Kind

if TYPE_CHECKING:
    from artifactfs.index.environment import Writer

CACHED_RECORDS: Final = 32_768
_MODE_AND_TIME = struct.Struct(">Hq")


class FileNode(Struct, frozen=True, array_like=True, tag=1):
    """A file of a version, and where its content lay when the node was made; it is a `BlobName`."""

    attributes: Attributes
    sha256: bytes
    size: int
    sums: bytes | None
    placement: Placement | None = None


class Shard(Struct, frozen=True, array_like=True, tag=1):
    """One of `count` parts by content, counted from 0."""

    index: int
    count: int


class Against(Struct, frozen=True, array_like=True, tag=2):
    """What differs from another directory, of which `tree` is None where there is none; `side` says how."""

    side: str
    tree: bytes | None
    placement: Placement | None


class Apart(Struct, frozen=True, array_like=True, tag=3):
    """All of it, with nodes that it has for itself: overlayfs takes files of one node for one file."""


ADDED: Final = "added"
MODIFIED: Final = "modified"
REMOVED: Final = "removed"
Part = Shard | Against | Apart


class DirectoryNode(Struct, frozen=True, array_like=True, tag=2):
    """A directory of a version, at one place; with `part` it shows a part of its entries only."""

    attributes: Attributes
    tree: bytes
    content: bytes
    size: int
    count: int
    placement: Placement | None
    collection: str
    version: int
    part: Part | None = None


class LinkNode(Struct, frozen=True, array_like=True, tag=3):
    """A symbolic link of a version."""

    attributes: Attributes
    target: bytes


class ReferenceNode(Struct, frozen=True, array_like=True, tag=4):
    """A file of a version whose bytes lie elsewhere. Epochs of earlier releases say nothing of the last fields."""

    attributes: Attributes
    content: bytes
    uri: str
    validator: Validator | None = None
    has_sha256: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return self.attributes.size

    def as_entry(self) -> ReferenceEntry:
        """Return the entry that it was made from, without its name.

        Raises:
            IndexCorruptError: an earlier release made the node.
        """
        if self.validator is None:
            msg = "this mount was begun by an earlier release, which did not read references"
            raise IndexCorruptError(msg, hint="unmount, and mount again")
        found = self.attributes
        return ReferenceEntry(
            b"-", found.mode, found.mtime_ns, found.size, self.uri, self.validator, self.content, self.has_sha256
        )


class CollectionNode(Struct, frozen=True, array_like=True, tag=5):
    """A collection."""

    node: int
    name: str


class AliasNode(Struct, frozen=True, array_like=True, tag=6):
    """An alias."""

    node: int
    collection: str
    name: str


class StagingNode(Struct, frozen=True, array_like=True, tag=7):
    """The place of a staging directory."""

    node: int
    collection: str
    name: str


class ViewNode(Struct, frozen=True, array_like=True, tag=8):
    """A directory or link in the view of a run: `base` is the node that it shows, `path` where in a version."""

    node: int
    view: str
    base: int
    path: bytes


class PortNode(Struct, frozen=True, array_like=True, tag=9):
    """The empty directory over which the socket for containers is bound."""

    node: int


class PartsNode(Struct, frozen=True, array_like=True, tag=10):
    """`.view` of a version."""

    node: int
    collection: str
    version: int


class DifferencesNode(Struct, frozen=True, array_like=True, tag=11):
    """`.diff` of a collection."""

    node: int
    collection: str


class DifferenceNode(Struct, frozen=True, array_like=True, tag=12):
    """What differs between two versions of a collection."""

    node: int
    collection: str
    old: int
    new: int


class DifferenceLinkNode(Struct, frozen=True, array_like=True, tag=13):
    """The same, where a name is an alias: a link."""

    node: int
    collection: str
    name: str


TreeRecord = FileNode | DirectoryNode | LinkNode | ReferenceNode
CatalogueRecord = CollectionNode | AliasNode | StagingNode
HiddenRecord = PartsNode | DifferencesNode | DifferenceNode | DifferenceLinkNode
Record = TreeRecord | CatalogueRecord | ViewNode | PortNode | HiddenRecord

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


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


def encode_record(record: Record) -> bytes:
    """Return a record as bytes."""
    return _encoder.encode(record)


def decode_record(data: bytes) -> Record:
    """Return the record that bytes stand for.

    Raises:
        IndexCorruptError: they stand for none.
    """
    try:
        record: Record = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        msg = f"a node in the index does not decode: {error}"
        raise IndexCorruptError(msg, hint="run: artifactfs index rebuild, and mount again") from error
    return record


def shared_key(entry: Entry) -> bytes | None:
    """Return the key under which equal entries share one node, or None for directories.

    Files are equal when content, permission bits and time are. So two versions share pages in the kernel. Below an
    overlay (`Apart`) nothing is shared.
    """
    match entry:
        case FileEntry():
            return b"f" + entry.sha256 + _MODE_AND_TIME.pack(entry.mode, entry.mtime_ns)
        case SymlinkEntry():
            target = hashlib.sha256(entry.target).digest()
            return b"l" + target + _MODE_AND_TIME.pack(entry.mode, entry.mtime_ns)
        case ReferenceEntry():
            source = f"{entry.uri}\0{entry.validator.kind}\0{entry.validator.value}\0{entry.size}".encode()
            digest = hashlib.sha256(entry.content + source).digest()
            return b"r" + digest + _MODE_AND_TIME.pack(entry.mode, entry.mtime_ns)
        case DirectoryEntry():
            return None


def entry_record(
    attributes: Attributes,
    entry: Entry,
    placement: Placement | None,
    *,
    collection: str,
    version: int,
    part: Part | None = None,
) -> TreeRecord:
    """Return the record of an entry of a version that has these attributes; `part` is that of a directory."""
    match entry:
        case FileEntry():
            return FileNode(attributes, entry.sha256, entry.size, entry.sums, placement)
        case SymlinkEntry():
            return LinkNode(attributes, entry.target)
        case ReferenceEntry():
            return ReferenceNode(attributes, entry.content, entry.uri, entry.validator, entry.has_sha256)
        case DirectoryEntry():
            return DirectoryNode(
                attributes, entry.tree, entry.content, entry.size, entry.count, placement, collection, version, part
            )


def directory_record(
    node: int, entry: DirectoryEntry, placement: Placement | None, *, collection: str, version: int
) -> DirectoryNode:
    """Return the record of a directory of a version."""
    attributes = attributes_of(node, entry)
    return DirectoryNode(attributes, entry.tree, entry.content, entry.size, entry.count, placement, collection, version)


def attributes_of(node: int, entry: Entry) -> Attributes:
    """Return the attributes that an entry has under a node number."""
    match entry:
        case DirectoryEntry():
            return Attributes(node, Kind.DIRECTORY, entry.mode, 0, entry.mtime_ns)
        case SymlinkEntry():
            return Attributes(node, Kind.SYMLINK, 0o777, len(entry.target), entry.mtime_ns)
        case _:
            return Attributes(node, Kind.FILE, entry.mode, entry.size, entry.mtime_ns)


def difference_links_key(collection: str) -> bytes:
    """Return what the keys of all nodes of `difference_link` of a collection begin with."""
    return _hashed(b"x", collection)


def _hashed(kind: bytes, *parts: str) -> bytes:
    return kind + hashlib.sha256("\0".join(parts).encode()).digest()
