"""What lies below an upper directory: an immutable version, by path.

Used by the union and by the commit of staging directories. Threading: may be shared by threads.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from artifactfs.errors import EntryNotFoundError
from artifactfs.model import DirectoryEntry, Entry, FileEntry, Placement, ReferenceEntry, Root, SymlinkEntry
from artifactfs.paths import join_path
from artifactfs.repository.trees import Trees, root_placement
from artifactfs.staging.marks import find_redirect, is_opaque

if TYPE_CHECKING:
    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.repository.repository import Repository

_LOWER_BIT = 1 << 63


class LowerDirectory(NamedTuple):
    """A directory of the version, and its path in the version."""

    entry: DirectoryEntry
    placement: Placement | None
    path: bytes


class LowerEntry(NamedTuple):
    """An entry of the version, and its path in the version."""

    entry: Entry
    placement: Placement | None
    path: bytes

    def as_directory(self) -> LowerDirectory | None:
        """Return it as a directory, or None when it is something else."""
        if isinstance(self.entry, DirectoryEntry):
            return LowerDirectory(self.entry, self.placement, self.path)
        return None

    @property
    def node(self) -> int:
        """Inode number: made from the path, which is visible at one place only; never one of a local file."""
        return lower_node(self.path)

    @property
    def size(self) -> int:
        """Bytes, as stat(2) tells them."""
        match self.entry:
            case SymlinkEntry(target=target):
                return len(target)
            case DirectoryEntry():
                return 0
            case _:
                return self.entry.size


def lower_node(path: bytes) -> int:
    """Return the inode number of the entry of the version at a path."""
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "big") | _LOWER_BIT


class Lower:
    """A version, by path; an empty one without a root. May be shared by threads."""

    def __init__(self, repository: Repository, root: Root | None) -> None:
        self._repository = repository
        self._trees = Trees(repository.blobs)
        self._root = root

    @property
    def top(self) -> LowerDirectory | None:
        """The top directory."""
        if self._root is None:
            return None
        return LowerDirectory(self._root.as_entry(), root_placement(self._root), b"")

    def find_child(self, directory: LowerDirectory, name: bytes) -> LowerEntry | None:
        """Return the entry called `name` in a directory, or None.

        Raises:
            IntegrityError: the tree is missing or damaged.
        """
        found = self._trees.find_child(directory.entry, name, directory.placement)
        return None if found is None else LowerEntry(found[0], found[1], join_path(directory.path, name))

    def find_directory(self, path: bytes) -> LowerDirectory | None:
        """Return the directory at a path, or None when there is none.

        Raises:
            IntegrityError: the tree is missing or damaged.
        """
        if self._root is None:
            return None
        try:
            entry, placement = self._trees.find_placed(self._root, path)
        except EntryNotFoundError:
            return None
        return LowerEntry(entry, placement, path).as_directory()

    def find_below(
        self, upper: bytes, name: bytes, above: LowerDirectory | None, *, prefix: bytes
    ) -> LowerDirectory | None:
        """Return what shows below an upper directory.

        Args:
            upper: its local path.
            name: its name.
            above: what shows below the directory that it is in.
            prefix: of the marks.

        Raises:
            InvalidPathError: its redirect is not a path.
            IntegrityError: the tree is missing or damaged.
        """
        if is_opaque(upper, prefix):
            return None
        redirect = find_redirect(upper, siblings=above.path if above else None, prefix=prefix)
        if redirect is not None:
            return self.find_directory(redirect)
        if above is None:
            return None
        below = self.find_child(above, name)
        return below.as_directory() if below is not None else None

    def list_directory(self, directory: LowerDirectory) -> list[LowerEntry]:
        """Return all entries of a directory in name order.

        Raises:
            IntegrityError: the tree is missing or damaged.
        """
        found = self._trees.load_entries(directory.entry, directory.placement)
        return [LowerEntry(entry, place, join_path(directory.path, entry.name)) for entry, place in found]

    def open_file(self, entry: FileEntry | ReferenceEntry, placement: Placement | None = None) -> ReadableFile:
        """Return the content of a file, verified.

        Args:
            entry: which file.
            placement: where its content lies, when not as an object of its own.

        Raises:
            IntegrityError: it is missing or damaged.
        """
        if isinstance(entry, FileEntry):
            return self._repository.open_file(entry, placement)
        return self._repository.references.open(entry)
