"""Making stored directories: from entries, or from a base directory and what changes in it.

Directories are built bottom up: a subdirectory's entry is what `store_directory` returned for it. What stays as it
was keeps its digests and is neither read nor written again.

Used by put and by the commit of staging directories. Threading: a TreeBuilder belongs to one thread.

Source: docs/format.md sections 4.1 and 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from artifactfs.digest import Digest
from artifactfs.model import DirectoryEntry, Root
from artifactfs.repository.directorywriter import DirectoryWriter, PageWriter, Top
from artifactfs.repository.overlay import Overlay, store_entries
from artifactfs.repository.treepacks import as_placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artifactfs.model import Entry, Placement
    from artifactfs.repository.treepacks import AnyPlace
    from artifactfs.repository.trees import Trees

__all__ = ["PageWriter", "StoredDirectory", "TreeBuilder", "make_root"]


class StoredDirectory(NamedTuple):
    """A directory's entry, and where its top page lies."""

    entry: DirectoryEntry
    place: AnyPlace


class TreeBuilder:
    """Builds directories and stores their pages. Belongs to one thread.

    Args:
        batch: takes the pages; whoever owns it flushes it.
        trees: reads base directories; only `overlay_directory` with a base needs it.
    """

    def __init__(self, batch: PageWriter, trees: Trees | None = None) -> None:
        self._batch = batch
        self._trees = trees

    def store_directory(
        self,
        name: bytes,
        *,
        mode: int,
        mtime_ns: int,
        entries: Iterable[Entry],
        places: Mapping[bytes, AnyPlace] | None = None,
    ) -> StoredDirectory:
        """Store a directory and return its entry.

        Args:
            name: the name that the entry gets; `b"/"` for a root.
            mode: permission bits; others are dropped.
            mtime_ns: modification time.
            entries: all of them, in any order.
            places: where the content of entries lies, by name; a missing one is loose.

        Raises:
            MalformedError: two entries have one name.
            InvalidPathError, NameTooLongError: a name that no tree may hold.
            StorageFullError: there is no room.
        """
        known = places or {}
        top = store_entries(self._batch, [(entry, known.get(entry.name)) for entry in entries])
        return stored_directory(name, mode, mtime_ns, top)

    def begin_directory(self) -> DirectoryWriter:
        """Return a directory that is stored while its entries come; see `stored_directory`."""
        return DirectoryWriter(self._batch)

    def overlay_directory(
        self,
        name: bytes,
        *,
        mode: int,
        mtime_ns: int,
        base: DirectoryEntry | None,
        changes: Mapping[bytes, tuple[Entry, AnyPlace] | None],
        placement: Placement | None = None,
    ) -> StoredDirectory:
        """Store a directory that is `base` but for some names, and return its entry.

        The result is the same, byte for byte, as if it had been built from all its entries. Of a large base only
        the pages that hold a changed name, or one next to it, are read and written.

        Args:
            name: the name that the entry gets.
            mode: permission bits; others are dropped.
            mtime_ns: modification time.
            base: a stored directory, or None for an empty one.
            changes: by name, the entry that is there now and the place of its content, or None when nothing is; a
                name that was not there before may be None.
            placement: where the top page of `base` lies, when not as an object of its own.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: `base` cannot be read.
            InvalidPathError, NameTooLongError: a name that no tree may hold.
            StorageFullError: there is no room.
        """
        if base is None:
            top = store_entries(self._batch, [item for item in changes.values() if item is not None])
            return stored_directory(name, mode, mtime_ns, top)
        if not changes:
            entry = DirectoryEntry(name, mode & 0o777, mtime_ns, base.tree, base.content, base.size, base.count)
            return StoredDirectory(entry, placement)
        if self._trees is None:
            msg = "a TreeBuilder without trees cannot read a base directory"
            raise TypeError(msg)
        top = Overlay(self._batch, self._trees).apply(base, changes, placement=placement)
        return stored_directory(name, mode, mtime_ns, top)


def stored_directory(name: bytes, mode: int, mtime_ns: int, top: Top) -> StoredDirectory:
    """Return a directory whose pages were stored."""
    page = top.page
    entry = DirectoryEntry(name, mode & 0o777, mtime_ns, page.tree, page.content, page.size, page.count)
    return StoredDirectory(entry, top.place)


def make_root(stored: StoredDirectory) -> Root:
    """Return a stored directory as the root that a commit record states; its name is dropped.

    What stored it must have been flushed: only then is it known where the directory lies.
    """
    entry, placement = stored.entry, as_placement(stored.place)
    return Root(
        tree=str(Digest(entry.tree)),
        content=str(Digest(entry.content)),
        mode=entry.mode,
        mtime_ns=entry.mtime_ns,
        size=entry.size,
        count=entry.count,
        placement=None if placement is None else (str(Digest(placement.pack)), placement.offset, placement.size),
    )
