"""Reading stored directories: all entries of one, one entry by its path, or everything in depth-first order.

Used by checkout, diff, verify, commit of staging directories, and the file-system view. Threading: a Trees may be
shared by threads.

Source: docs/format.md section 4.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from cachetools import LRUCache

from artifactfs.digest import Digest
from artifactfs.errors import EntryNotFoundError
from artifactfs.model import DirectoryEntry, PageRef, Placement, Root
from artifactfs.paths import join_path, printable, split_path
from artifactfs.repository import changes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import Entry
    from artifactfs.storedpage import StoredPage

CACHE_SIZE: Final = 16 << 20
"""Canonical bytes of the pages that are kept decoded (decoded, they take about four times as much)."""

_NAMES_COMPARED: Final = 2000

Placed = tuple["Entry", Placement | None]


class PageReader(Protocol):
    """Where stored pages come from; `ContentStore` is one."""

    def read_tree(self, digest: Digest, placement: Placement | None = None) -> StoredPage:
        """Return a stored page, verified."""


def root_placement(root: Root) -> Placement | None:
    """Return where the top page of a version lies, or None when it is an object of its own."""
    if root.placement is None:
        return None
    pack, offset, size = root.placement
    return Placement(bytes.fromhex(pack.rpartition(":")[2]), offset, size)


_THIS: Final = "this version"


class Trees:
    """Reads directories and keeps the pages used last. May be shared by threads."""

    def __init__(self, reader: PageReader, *, cache_size: int = CACHE_SIZE) -> None:
        self._reader = reader
        self._guard = threading.Lock()
        self._pages: LRUCache[bytes, StoredPage] = LRUCache(cache_size, getsizeof=lambda page: len(page.page.data))

    def load_page(self, tree: bytes, placement: Placement | None = None) -> StoredPage:
        """Return one stored page, verified.

        Args:
            tree: its raw tree digest.
            placement: where it lies, when not as an object of its own.

        Raises:
            BlobMissingError: it is not in the store.
            DigestMismatchError, MalformedError: what is there is damaged.
        """
        with self._guard:
            found = self._pages.get(tree)
        if found is None:
            found = self._reader.read_tree(Digest(tree), placement)
            with self._guard:
                if len(found.page.data) <= self._pages.maxsize:
                    self._pages[tree] = found
        return found

    def iter_pages(self, directory: DirectoryEntry, placement: Placement | None = None) -> Iterator[StoredPage]:
        """Yield the pages of a directory that hold entries, in name order.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: see `load_page`.
        """
        waiting: list[tuple[bytes, Placement | None]] = [(directory.tree, placement)]
        while waiting:
            stored = self.load_page(*waiting.pop())
            if stored.page.level == 0:
                yield stored
            else:
                below = zip(stored.page.items, stored.placements, strict=True)
                waiting += reversed([(item.tree, place) for item, place in below if isinstance(item, PageRef)])

    def load_entries(self, directory: DirectoryEntry, placement: Placement | None = None) -> list[Placed]:
        """Return all entries of a directory in name order, each with the place of its content.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: see `load_page`.
        """
        return [
            (item, place)
            for stored in self.iter_pages(directory, placement)
            for item, place in zip(stored.page.items, stored.placements, strict=True)
            if not isinstance(item, PageRef)
        ]

    def _iter_entries(self, directory: DirectoryEntry, placement: Placement | None) -> Iterator[Entry]:
        for stored in self.iter_pages(directory, placement):
            yield from (item for item in stored.page.items if not isinstance(item, PageRef))

    def count_entries(self, directory: DirectoryEntry, placement: Placement | None = None) -> int:
        """Return how many entries a directory has. Reads its top page.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: see `load_page`.
        """
        return sum(map(_count, self.load_page(directory.tree, placement).page.items))

    def iter_from(self, directory: DirectoryEntry, offset: int, placement: Placement | None = None) -> Iterator[Placed]:
        """Yield the entries of a directory in name order from the one with number `offset` on, counted from 0.

        What comes before is not read: a page says how many entries are below each that it names.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: see `load_page`.
        """
        waiting: list[tuple[bytes, Placement | None]] = [(directory.tree, placement)]
        left = offset
        while waiting:
            stored = self.load_page(*waiting.pop())
            below: list[tuple[bytes, Placement | None]] = []
            for item, place in zip(stored.page.items, stored.placements, strict=True):
                if isinstance(item, PageRef) and (below or left < item.entry_count):
                    below.append((item.tree, place))  # in the first of them, `left` entries are passed over
                elif left:
                    left -= _count(item)
                elif not isinstance(item, PageRef):
                    yield item, place
            waiting += reversed(below)

    def find_number(self, directory: DirectoryEntry, name: bytes, placement: Placement | None = None) -> int:
        """Return how many entries of a directory come before a name, which need not be there. Reads a page a level.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: see `load_page`.
        """
        tree, number = directory.tree, 0
        while True:
            stored = self.load_page(tree, placement)
            items = stored.page.items
            index = bisect_left(items, name, key=_last_name)
            number += sum(map(_count, items[:index]))
            if index == len(items) or not isinstance(item := items[index], PageRef):
                return number
            tree, placement = item.tree, stored.placements[index]

    def find_child(self, directory: DirectoryEntry, name: bytes, placement: Placement | None = None) -> Placed | None:
        """Return the entry called `name` in a directory, or None. Reads one page of each level.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: see `load_page`.
        """
        tree = directory.tree
        while True:
            stored = self.load_page(tree, placement)
            items = stored.page.items
            index = bisect_left(items, name, key=_last_name)
            if index == len(items):
                return None
            item, placement = items[index], stored.placements[index]
            if not isinstance(item, PageRef):
                return (item, placement) if item.name == name else None
            tree = item.tree

    def find_entry(self, root: Root, path: bytes) -> Entry:
        """Return the entry at a path; `b""` gives the root as a directory entry. Links are not followed.

        Raises:
            EntryNotFoundError: there is none; the message names the first name that is missing.
            InvalidPathError: it is not an entry path.
            BlobMissingError, DigestMismatchError, MalformedError: see `load_page`.
        """
        return self.find_placed(root, path)[0]

    def find_placed(self, root: Root, path: bytes, *, of: str = "") -> Placed:
        """Return the entry at a path and the place of its content; otherwise as `find_entry`.

        Args:
            root: the top directory.
            path: what is looked for.
            of: what errors call the tree: `NAME:vN`.
        """
        entry: Entry = root.as_entry()
        placement = root_placement(root)
        walked = b""
        for name in split_path(path):
            if not isinstance(entry, DirectoryEntry):
                msg = f"there is no {printable(path)!r} in {of or _THIS}: {printable(walked)!r} is not a directory"
                raise EntryNotFoundError(msg, subject=printable(path))
            walked = join_path(walked, name)
            found = self.find_child(entry, name, placement)
            if found is None:
                msg = f"there is no {printable(walked)!r} in {of or _THIS}"
                hint = f"`artifactfs ls {of or 'NAME:vN'}/` lists entries"
                raise EntryNotFoundError(msg, hint=hint, subject=printable(path))
            entry, placement = found
        return entry, placement

    def get_placed(self, root: Root, path: bytes, *, of: str = "") -> Placed:
        """Return what `find_placed` does; when there is nothing, the error's hint has names nearly like it.

        For people: it reads more of the directory in which the name is missing.
        """
        try:
            return self.find_placed(root, path, of=of)
        except EntryNotFoundError as error:
            hint = self._suggest(root, path)
            if not hint:
                raise
            raise EntryNotFoundError(error.message, hint=hint, subject=error.subject) from error

    def _suggest(self, root: Root, path: bytes) -> str:
        entry: Entry = root.as_entry()
        placement = root_placement(root)
        walked = b""
        for name in split_path(path):
            if not isinstance(entry, DirectoryEntry):
                return ""
            found = self.find_child(entry, name, placement)
            if found is None:
                entries = islice(self._iter_entries(entry, placement), _NAMES_COMPARED)
                near = changes.find_similar(printable(name), (printable(other.name) for other in entries))
                return changes.format_similar([printable(walked) + "/" * bool(walked) + other for other in near])
            walked = join_path(walked, name)
            entry, placement = found
        return ""

    def iter_tree(self, root: Root, path: bytes = b"") -> Iterator[tuple[bytes, Entry]]:
        """Yield path and entry of everything below a path, depth first in name order.

        A directory comes before what is in it; the one at `path` itself is not yielded, and neither is anything
        when `path` is not a directory. Memory grows with depth and the size of single directories only.

        Raises:
            EntryNotFoundError: there is no `path`.
            BlobMissingError, DigestMismatchError, MalformedError: see `load_page`.
        """
        entry, placement = self.find_placed(root, path)
        if isinstance(entry, DirectoryEntry):
            yield from self.iter_below(entry, path, placement)

    def iter_below(
        self, directory: DirectoryEntry, path: bytes = b"", placement: Placement | None = None
    ) -> Iterator[tuple[bytes, Entry]]:
        """Yield path and entry of everything in a directory that stands at `path`; otherwise as `iter_tree`."""
        return ((below, entry) for below, entry, _ in self.iter_placed(directory, path, placement))

    def iter_placed(
        self, directory: DirectoryEntry, path: bytes = b"", placement: Placement | None = None
    ) -> Iterator[tuple[bytes, Entry, Placement | None]]:
        """Yield path, entry and the place of its content of everything in a directory; otherwise as `iter_below`."""
        # A stack instead of recursion: directories nest deeper than Python's stack.
        levels = [(path, iter(self.load_entries(directory, placement)))]
        while levels:
            parent, entries = levels[-1]
            for entry, place in entries:
                below = join_path(parent, entry.name)
                yield below, entry, place
                if isinstance(entry, DirectoryEntry):
                    levels.append((below, iter(self.load_entries(entry, place))))
                    break
            else:
                levels.pop()


def _count(item: Entry | PageRef) -> int:
    return item.entry_count if isinstance(item, PageRef) else 1


def _last_name(item: Entry | PageRef) -> bytes:
    return item.last if isinstance(item, PageRef) else item.name
