"""Directories that no listing shows: parts of a version by path, and what differs between two versions.

    animals/v1/.view/shard-2-of-8/...
    animals/.diff/v3..v4/added/...        modified, removed
    animals/.diff/v3..latest              -> v3..v4

A name that a version itself has at its top wins.

Used by the views. Threading: may be shared by threads.

Source: docs/design/views.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.errors import EntryNotFoundError, InvalidNameError, InvalidPathError
from artifactfs.paths import check_alias_name, find_version_number, format_version
from artifactfs.repository.trees import root_placement
from artifactfs.vfs.attributes import Attributes, Kind
from artifactfs.vfs.node_records import (
    Against,
    DifferenceLinkNode,
    DifferenceNode,
    DifferencesNode,
    DirectoryNode,
    PartsNode,
    Shard,
    attributes_of,
    directory_record,
)
from artifactfs.vfs.parts import SIDES, as_part
from artifactfs.vfs.tree_view import missing_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.model import Collection, Version
    from artifactfs.vfs.node_records import HiddenRecord, Part, Record
    from artifactfs.vfs.nodes import NodeTable

PARTS_NAME: Final = b".view"
DIFFERENCES_NAME: Final = b".diff"
"""Neither an alias nor a version has it: names of aliases do not begin with a dot."""
MODE: Final = 0o555
SHARDS_MAX: Final = 1_000_000
_SHARD = re.compile(rb"shard-(0|[1-9][0-9]{0,6})-of-([1-9][0-9]{0,6})")


def lookup_either(view: HidingView, parent: int, name: bytes) -> Attributes:
    """Return the attributes of a name that is listed, else of one that is not.

    Raises:
        EntryNotFoundError: there is neither.
    """
    try:
        return view.lookup_listed(parent, name)
    except EntryNotFoundError:
        found = view.find_hidden(parent, name)
        if found is None:
            raise
        return found


class HidingView(Protocol):
    """A view with names that no listing shows."""

    def lookup_listed(self, parent: int, name: bytes) -> Attributes:
        """Return the attributes of a name in a directory; raises EntryNotFoundError."""

    def find_hidden(self, parent: int, name: bytes) -> Attributes | None:
        """Return the attributes of a name that is not listed, or None."""


class Hidden:
    """Finds what is not listed. May be shared by threads.

    Args:
        nodes: the epoch's.
        find_collection: returns the state of a collection; raises EntryNotFoundError.
    """

    def __init__(self, nodes: NodeTable, find_collection: Callable[[str], Collection]) -> None:
        self._nodes = nodes
        self._find_collection = find_collection

    def find_parts(self, directory: DirectoryNode) -> Attributes | None:
        """Return the attributes of `.view` in the top directory of a version; None in any other directory."""
        version = self._find_top(directory)
        if version is None:
            return None
        node = self._nodes.parts(directory.collection, version)
        return Attributes(node, Kind.DIRECTORY, MODE, 0, version.root.mtime_ns)

    def find_differences(self, collection: Collection) -> Attributes:
        """Return the attributes of `.diff` in a collection."""
        return Attributes(self._nodes.differences(collection.name), Kind.DIRECTORY, MODE, 0, collection.time_ns)

    def lookup(self, record: HiddenRecord, name: bytes) -> Attributes:
        """Return the attributes of a name in one of these directories.

        Raises:
            EntryNotFoundError: there is none.
            InvalidPathError: it is no directory.
        """
        match record:
            case PartsNode():
                return self._find_shard(record, name)
            case DifferencesNode():
                return self._find_pair(self._find_collection(record.collection), name)
            case DifferenceNode():
                return self._find_side(record, name)
        msg = "a symbolic link is not looked into but followed"
        raise InvalidPathError(msg)

    def getattr(self, record: HiddenRecord) -> Attributes:
        """Return the attributes of one of these directories or links."""
        collection = self._find_collection(record.collection)
        if isinstance(record, DifferenceLinkNode):
            return self._find_pair(collection, record.name.encode())
        if isinstance(record, PartsNode):
            version = self._get_version(collection, record.version)
            return Attributes(record.node, Kind.DIRECTORY, MODE, 0, version.root.mtime_ns)
        return Attributes(record.node, Kind.DIRECTORY, MODE, 0, collection.time_ns)

    def read_directory(self, record: HiddenRecord) -> list[tuple[bytes, Attributes]]:
        """Return what is listed in one of these directories: the sides of a difference, otherwise nothing."""
        if not isinstance(record, DifferenceNode):
            return []
        return [(side.encode(), self._find_side(record, side.encode())) for side in SIDES]

    def readlink(self, record: DifferenceLinkNode) -> bytes:
        """Return what two names, of which one is an alias, mean now: `v3..v4`."""
        return self._resolve(self._find_collection(record.collection), record.name.encode())

    def _find_top(self, directory: DirectoryNode) -> Version | None:
        if directory.part is not None:
            return None
        version = self._find_collection(directory.collection).versions.get(directory.version)
        if version is None or bytes.fromhex(version.root.tree[7:]) != directory.tree:
            return None  # no directory has the digest of one that it is in
        return version

    def _find_shard(self, record: PartsNode, name: bytes) -> Attributes:
        match = _SHARD.fullmatch(name)
        version = self._get_version(self._find_collection(record.collection), record.version)
        if match is None or not int(match[1]) < int(match[2]) <= SHARDS_MAX:
            raise missing_name(name)
        return self._part(record.collection, version, Shard(int(match[1]), int(match[2])), name.decode())

    def _find_side(self, record: DifferenceNode, name: bytes) -> Attributes:
        side = name.decode("ascii", "replace")
        collection = self._find_collection(record.collection)
        old, new = (self._get_version(collection, number) for number in (record.old, record.new))
        if side not in SIDES:
            raise missing_name(name)
        shown, other = (old, new) if side == "removed" else (new, old)
        part = Against(side, bytes.fromhex(other.root.tree[7:]), root_placement(other.root))
        return self._part(record.collection, shown, part, f"{side} {record.old}..{record.new}")

    def _find_pair(self, collection: Collection, name: bytes) -> Attributes:
        target = self._resolve(collection, name)
        if target != name:
            node = self._nodes.difference_link(collection.name, name.decode())
            return Attributes(node, Kind.SYMLINK, 0o777, len(target), collection.time_ns)
        old, new = (find_version_number(part) or 0 for part in name.decode().split(".."))
        node = self._nodes.difference(collection.name, old, new)
        return Attributes(node, Kind.DIRECTORY, MODE, 0, collection.time_ns)

    def _resolve(self, collection: Collection, name: bytes) -> bytes:
        """Return the numbers that two names mean. An alias may have `..` in it: every way to part them is tried."""
        text = name.decode("utf-8", "replace")
        for match in re.finditer(r"(?=\.\.)", text):
            old = self._find_number(collection, text[: match.start()])
            new = self._find_number(collection, text[match.start() + 2 :])
            if old is not None and new is not None:
                return f"{format_version(old)}..{format_version(new)}".encode()
        raise missing_name(name)

    def _find_number(self, collection: Collection, name: str) -> int | None:
        number = find_version_number(name)
        if number is None:
            try:
                number = collection.aliases.get(check_alias_name(name))
            except InvalidNameError:
                return None
        return number if number in collection.versions else None

    def _get_version(self, collection: Collection, number: int) -> Version:
        version = collection.versions.get(number)
        if version is None:
            raise missing_name(format_version(number).encode())
        return version

    def _part(self, collection: str, version: Version, part: Part, name: str) -> Attributes:
        entry, placement = version.root.as_entry(), root_placement(version.root)

        def make(node: int) -> Record:
            whole = directory_record(node, entry, placement, collection=collection, version=version.number)
            return as_part(whole, part)

        # With the trees: a repository that was restored from a copy may give a number again, to something else.
        other = part.tree.hex() if isinstance(part, Against) and part.tree is not None else ""
        node = self._nodes.part((collection, str(version.number), version.root.tree, name, other), make)
        return attributes_of(node, entry)
