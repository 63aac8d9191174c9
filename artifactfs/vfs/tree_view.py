"""What is inside versions, by node: immutable, prepared when entered, verified when read.

The two views, of a whole repository and of a single version, stand on it.

Used by `catalogue_view` and `version_view`. Threading: may be shared by threads.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from artifactfs.errors import (
    ArtifactFSError,
    CollectionNotFoundError,
    EntryNotFoundError,
    IntegrityError,
    InvalidPathError,
)
from artifactfs.paths import printable
from artifactfs.reference.base import describe_sameness
from artifactfs.repository.presence import Presence, find_presence
from artifactfs.repository.trees import Trees
from artifactfs.vfs.attributes import StatFs
from artifactfs.vfs.base import IsADirectoryNodeError
from artifactfs.vfs.content import Contents
from artifactfs.vfs.directories import Directories
from artifactfs.vfs.node_records import DirectoryNode, FileNode, LinkNode, ReferenceNode
from artifactfs.vfs.nodes import NodeTable
from artifactfs.vfs.xattrs import describe_node, missing_attribute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.index.epoch import Epoch
    from artifactfs.model import Collection
    from artifactfs.repository.repository import Repository
    from artifactfs.vfs.attributes import Attributes
    from artifactfs.vfs.directories import Names
    from artifactfs.vfs.node_records import Record


TREE_CACHE: Final = 1 << 20
"""Stored pages are prepared once and not looked at again; only upper pages are met more than once."""


class TreeView:
    """Nodes of versions. A context manager; may be shared by threads."""

    def __init__(self, repository: Repository, epoch: Epoch) -> None:
        self.repository = repository
        self.nodes = NodeTable(epoch)
        self._directories = Directories(self.nodes, Trees(repository.blobs, cache_size=TREE_CACHE))
        self._contents = Contents(repository)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close open files."""
        self._contents.close()

    def find_lately(self, parent: int, name: bytes) -> Names | None:
        """Return the names among which `name` is, or would be, if that part of a version was looked into lately."""
        return self._directories.find(parent, name)

    def lookup(self, record: DirectoryNode, name: bytes) -> Attributes:
        """Return the attributes of a name in a directory of a version.

        Raises:
            EntryNotFoundError: there is no such name.
            IntegrityError: the directory is missing or damaged; the message names the version.
        """
        with _naming(record):
            found = self._directories.lookup(record, name)
        if found is None:
            raise missing_name(name)
        return found

    def read_directory(self, record: DirectoryNode) -> list[tuple[bytes, Attributes]]:
        """Return names and attributes in a directory of a version, in name order.

        Raises:
            IntegrityError: it is missing or damaged; the message names the version.
        """
        with _naming(record):
            return [row for names in self._directories.iter_leaves(record) for row in names.items()]

    def read(self, record: Record, *, offset: int, size: int) -> bytes:
        """Return the overlap of a range with a file.

        Raises:
            IntegrityError: the content is missing or damaged.
            InvalidPathError: the node is not a file.
            IsADirectoryNodeError: it is a directory.
        """
        if isinstance(record, FileNode | ReferenceNode):
            return self._contents.read(record, offset=offset, size=size)
        if isinstance(record, LinkNode):
            msg = "a symbolic link is not read but followed"
            raise InvalidPathError(msg)
        msg = "a directory has no bytes"
        raise IsADirectoryNodeError(msg)

    def readlink(self, record: Record) -> bytes:
        """Return the target of a symbolic link of a version.

        Raises:
            InvalidPathError: the node is not one.
        """
        if isinstance(record, LinkNode):
            return record.target
        msg = "only symbolic links have a target"
        raise InvalidPathError(msg)

    def describe(self, record: Record, *, collection: str | None) -> dict[bytes, bytes]:
        """Return the extended attributes of a node; `collection` is the one whose state they tell."""
        state: Collection | None = None
        if collection is not None:
            try:
                state = self.repository.get_collection(collection)
            except (CollectionNotFoundError, IntegrityError):
                state = None  # the rest is still true
        return describe_node(record, source=self.repository.location, collection=state, presence=self._find(record))

    def _find(self, record: Record) -> Presence:
        match record:
            case FileNode():
                return find_presence(self.repository, record, record.placement)
            case ReferenceNode() if record.validator is not None:
                return find_presence(self.repository, record.as_entry())
            case _:
                return Presence.LOCAL

    def find_drift(self, record: Record) -> bytes:
        """Return what is wrong with a reference, b"none" if nothing is, or that nobody can say; the service is asked.

        Raises:
            NoAttributeError: the node is no reference.
            RemoteError, AccessDeniedError: the service cannot be reached, or it may not be read.
        """
        if not isinstance(record, ReferenceNode):
            raise missing_attribute()
        entry = record.as_entry()
        references = self.repository.references
        references.policy.check(entry.uri)
        return (references.find_drift(entry) or describe_sameness(entry)).encode()

    def statfs(self) -> StatFs:
        """Return the figures of the disk below the repository."""
        try:
            found = os.statvfs(self.repository.local_directory)
        except OSError as error:
            msg = f"the repository {self.repository.location} cannot be reached: {error.strerror}"
            raise ArtifactFSError(msg, subject=self.repository.location) from error
        return StatFs(
            block_size=found.f_frsize,
            blocks=found.f_blocks,
            blocks_free=found.f_bfree,
            blocks_available=found.f_bavail,
            files=found.f_files,
            files_free=found.f_ffree,
        )


@contextmanager
def _naming(record: DirectoryNode) -> Iterator[None]:
    """Put the version in front of the message when something is missing or damaged."""
    try:
        yield
    except IntegrityError as error:
        place = f"{record.collection}:v{record.version}"
        raise type(error)(f"{place}: {error.message}", hint=error.hint, subject=error.subject) from error


def missing_name(name: bytes) -> EntryNotFoundError:
    """Return the error that says that there is no such name."""
    return EntryNotFoundError(f"there is no {printable(name)!r}", subject=printable(name))


def find_in(names: Names, name: bytes) -> Attributes:
    """Return the attributes of a name.

    Raises:
        EntryNotFoundError: there is none.
    """
    found = names.get(name)
    if found is None:
        raise missing_name(name)
    return found
