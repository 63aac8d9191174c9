"""What an epoch remembers about each node: the records of its `nodes` table, and how entries become them.

Used by the views and `nodes`. Threading: pure functions and immutable values.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import msgspec
from msgspec import Struct

from artifactfs.errors import IndexCorruptError
from artifactfs.model import (
    DirectoryEntry,
    Entry,
    FileEntry,
    Placement,
    ReferenceEntry,
    SymlinkEntry,
    Validator,
)
from artifactfs.vfs.attributes import Attributes, Kind

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
