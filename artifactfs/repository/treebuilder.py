"""Making stored directories: from entries, or from a base directory and what changes in it.

Directories are built bottom up: a subdirectory's entry is what `store_directory` returned for it. What stays as it
was keeps its digests and is neither read nor written again.

Used by put and by the commit of staging directories. Threading: a TreeBuilder belongs to one thread.

Source: docs/format.md sections 4.1 and 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.digest import Digest
from artifactfs.model import DirectoryEntry, Root
from artifactfs.repository.overlay import Overlay, PageWriter, Places, store_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artifactfs.manifest import Page
    from artifactfs.model import Entry, PageRef, Placement
    from artifactfs.repository.trees import Trees

__all__ = ["PageWriter", "Places", "TreeBuilder", "make_root"]


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
        placements: Places | None = None,
    ) -> DirectoryEntry:
        """Store a directory and return its entry.

        Args:
            name: the name that the entry gets; `b"/"` for a root.
            mode: permission bits; others are dropped.
            mtime_ns: modification time.
            entries: all of them, in any order.
            placements: where the content of entries lies, by name; a missing one is loose.

        Raises:
            MalformedError: two entries have one name.
            InvalidPathError, NameTooLongError: a name that no tree may hold.
            StorageFullError: there is no room.
        """
        top = store_entries(self._batch, list(entries), placements or {})
        return _directory_entry(name, mode, mtime_ns, top)

    def overlay_directory(
        self,
        name: bytes,
        *,
        mode: int,
        mtime_ns: int,
        base: DirectoryEntry | None,
        changes: Mapping[bytes, Entry | None],
        placement: Placement | None = None,
    ) -> DirectoryEntry:
        """Store a directory that is `base` but for some names, and return its entry.

        The result is the same, byte for byte, as if it had been built from all its entries. Of a large base only
        the pages that hold a changed name, or one next to it, are read and written.

        Args:
            name: the name that the entry gets.
            mode: permission bits; others are dropped.
            mtime_ns: modification time.
            base: a stored directory, or None for an empty one.
            changes: by name, the entry that is there now, or None when nothing is; a name that was not there
                before may be None.
            placement: where the top page of `base` lies, when not as an object of its own.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: `base` cannot be read.
            InvalidPathError, NameTooLongError: a name that no tree may hold.
            StorageFullError: there is no room.
        """
        if base is None:
            entries = [entry for entry in changes.values() if entry is not None]
            return self.store_directory(name, mode=mode, mtime_ns=mtime_ns, entries=entries)
        if not changes:
            return DirectoryEntry(name, mode & 0o777, mtime_ns, base.tree, base.content, base.size, base.count)
        if self._trees is None:
            msg = "a TreeBuilder without trees cannot read a base directory"
            raise TypeError(msg)
        top = Overlay(self._batch, self._trees).apply(base, changes, placement=placement)
        return _directory_entry(name, mode, mtime_ns, top)


def _directory_entry(name: bytes, mode: int, mtime_ns: int, top: Page | PageRef) -> DirectoryEntry:
    return DirectoryEntry(name, mode & 0o777, mtime_ns, top.tree, top.content, top.size, top.count)


def make_root(entry: DirectoryEntry) -> Root:
    """Return a directory entry as the root that a commit record states; its name is dropped."""
    return Root(
        tree=str(Digest(entry.tree)),
        content=str(Digest(entry.content)),
        mode=entry.mode,
        mtime_ns=entry.mtime_ns,
        size=entry.size,
        count=entry.count,
    )
