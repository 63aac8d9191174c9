"""A kernel source over a plain directory that nobody changes: the smallest thing that can be served.

Shows what the transport asks of a source, and lets its tests do without a repository. Node numbers are the order in
which a sorted walk meets the files, so that every worker has the same.

Threading: one thread.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from artifactfs.mount.kernel.codes import ROOT_NODE
from artifactfs.mount.kernel.encoding import (
    NO_ATTRIBUTES,
    NO_ENTRY,
    NodeAttributes,
    Owner,
    encode_attr,
    encode_entry,
    encode_record,
)
from artifactfs.mount.kernel.pages import copy_records, iter_pages
from artifactfs.mount.kernel.source import ChangeSource, Source, Space

if TYPE_CHECKING:
    from collections.abc import Iterator

XATTR = b"user.artifactfs.digest"


@dataclass(slots=True)
class _Node:
    path: bytes
    attributes: NodeAttributes
    parent: int
    children: dict[bytes, int] = field(default_factory=dict)
    pages: list[tuple[int, bytes]] | None = None


class TreeContent:
    """An open file.

    Threading: one thread.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size

    def extent(self) -> tuple[int, int] | None:
        """Return the descriptor, and 0."""
        return self._descriptor, 0

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes."""
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


class TreeSource:
    """Serves the directory as it was when it was opened.

    Threading: one thread.
    """

    has_xattrs = True

    def __init__(self, root: bytes, owner: Owner) -> None:
        self._owner = owner
        self._nodes: dict[int, _Node] = {}
        self._load(root, ROOT_NODE, parent=ROOT_NODE)

    def _load(self, path: bytes, number: int, *, parent: int) -> None:
        status = os.lstat(path)
        attributes = NodeAttributes(number, status.st_mode, status.st_size, status.st_mtime_ns)
        node = self._nodes[number] = _Node(path, attributes, parent)
        if stat.S_ISDIR(status.st_mode):
            for name in sorted(os.listdir(path)):
                child = node.children[name] = len(self._nodes) + 1
                self._load(path + b"/" + name, child, parent=number)

    def _get(self, number: int) -> _Node:
        node = self._nodes.get(number)
        if node is None:
            raise OSError(errno.ESTALE, "unknown node")
        return node

    def find_entry(self, parent: int, name: bytes) -> bytes:
        """Return the entry of a name."""
        child = self._get(parent).children.get(name)
        return NO_ENTRY if child is None else encode_entry(self._nodes[child].attributes, self._owner)

    def find_attributes(self, node: int) -> bytes:
        """Return the attributes of a node."""
        return encode_attr(self._get(node).attributes, self._owner)

    def read_link(self, node: int) -> bytes:
        """Return a link's target."""
        return os.readlink(self._get(node).path)

    def fill_directory(self, node: int, *, offset: int, into: memoryview) -> int:
        """Copy records."""
        found = self._get(node)
        if found.pages is None:
            found.pages = list(iter_pages(self._iter_records(node, found)))
        return copy_records(((first, memoryview(page)) for first, page in found.pages), offset=offset, into=into)

    def _iter_records(self, number: int, node: _Node) -> Iterator[bytes]:
        yield encode_record(b".", NO_ATTRIBUTES, mode=stat.S_IFDIR, node=number, offset=1)
        yield encode_record(b"..", NO_ATTRIBUTES, mode=stat.S_IFDIR, node=node.parent, offset=2)
        for offset, (name, child) in enumerate(node.children.items(), 3):
            attributes = self._nodes[child].attributes
            entry = encode_entry(attributes, self._owner)
            yield encode_record(name, entry, mode=attributes.mode, node=child, offset=offset)

    def open_content(self, node: int) -> TreeContent:
        """Open a file; what was none when the tree was opened has the size of what took its place."""
        found = self._get(node)
        descriptor = os.open(found.path, os.O_RDONLY | os.O_CLOEXEC)
        is_file = stat.S_ISREG(found.attributes.mode)
        return TreeContent(descriptor, found.attributes.size if is_file else os.fstat(descriptor).st_size)

    def list_xattrs(self, node: int) -> list[bytes]:
        """Return one name."""
        self._get(node)
        return [XATTR]

    def find_xattr(self, node: int, name: bytes) -> bytes | None:
        """Return the node's number for the one name."""
        return str(self._get(node).attributes.node).encode() if name == XATTR else None

    def statfs(self) -> Space:
        """Return round numbers."""
        return Space(1000, 500, 400, len(self._nodes), 0)

    def close(self) -> None:
        """Forget everything."""
        self._nodes.clear()


def open_source(arguments: dict[str, Any]) -> Source:
    """Open the directory `root`, owned by `uid` and `gid`."""
    owner = Owner(arguments.get("uid", os.getuid()), arguments.get("gid", os.getgid()))
    return TreeSource(os.fsencode(arguments["root"]), owner)


def open_changes(arguments: dict[str, Any]) -> ChangeSource | None:  # noqa: ARG001 - part of the interface
    """Return None: nothing changes."""
    return None
