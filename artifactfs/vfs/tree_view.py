"""What is inside versions, by node: immutable, prepared when entered, verified when read.

The two views, of a whole repository and of a single version, stand on it.

Used by `catalogue_view` and `version_view`. Threading: may be shared by threads.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from artifactfs.errors import (
    ArtifactFSError,
    BlobMissingError,
    CollectionNotFoundError,
    EntryNotFoundError,
    IntegrityError,
    InvalidPathError,
)
from artifactfs.paths import printable
from artifactfs.repository.trees import Trees
from artifactfs.vfs.attributes import StatFs
from artifactfs.vfs.content import Contents
from artifactfs.vfs.directories import Directories
from artifactfs.vfs.nodes import DirectoryNode, FileNode, LinkNode, NodeTable, ReferenceNode
from artifactfs.vfs.xattrs import describe_node

if TYPE_CHECKING:
    from artifactfs.index.epoch import Epoch
    from artifactfs.model import Collection
    from artifactfs.repository.repository import Repository
    from artifactfs.vfs.attributes import Attributes
    from artifactfs.vfs.directories import Names
    from artifactfs.vfs.nodes import Record


class TreeView:
    """Nodes of versions. A context manager; may be shared by threads."""

    def __init__(self, repository: Repository, epoch: Epoch) -> None:
        self.repository = repository
        self.nodes = NodeTable(epoch)
        self._directories = Directories(self.nodes, Trees(repository.blobs))
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

    def find_names(self, node: int) -> Names | None:
        """Return the names in a directory of a version if it was entered lately."""
        return self._directories.find(node)

    def enter(self, record: DirectoryNode) -> Names:
        """Return names and attributes in a directory of a version, in name order.

        Raises:
            IntegrityError: it is missing or damaged; the message names the version.
        """
        try:
            return self._directories.enter(record)
        except IntegrityError as error:
            place = f"{record.collection}:v{record.version}"
            raise type(error)(f"{place}: {error.message}", hint=error.hint, subject=error.subject) from error

    def read(self, record: Record, *, offset: int, size: int) -> bytes:
        """Return the overlap of a range with a file.

        Raises:
            IntegrityError: the content is missing or damaged.
            InvalidPathError: the node is not a file.
        """
        if isinstance(record, FileNode):
            return self._contents.read(record, offset=offset, size=size)
        if isinstance(record, ReferenceNode):
            msg = f"this release does not fetch references: {record.uri}"
            raise BlobMissingError(msg, subject=record.uri)
        msg = "only files can be read"
        raise InvalidPathError(msg)

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
        return describe_node(record, source=self.repository.location, collection=state)

    def statfs(self) -> StatFs:
        """Return the figures of the disk below the repository."""
        try:
            found = os.statvfs(self.repository.location)
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


def find_in(names: Names, name: bytes) -> Attributes:
    """Return the attributes of a name.

    Raises:
        EntryNotFoundError: there is none.
    """
    found = names.get(name)
    if found is None:
        msg = f"there is no {printable(name)!r}"
        raise EntryNotFoundError(msg, subject=printable(name))
    return found
