"""Storing the pages of a directory while its entries come, in name order.

A large directory is never held whole: a page is stored when a name ends it. The result is the one that
`build_directory` gives for the same entries.

Used by the tree builder and by overlays. Threading: a DirectoryWriter belongs to one thread.

Source: docs/format.md section 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from artifactfs.errors import MalformedError
from artifactfs.manifest import PAGE_LIMIT, build_page, check_range, is_boundary, page_ref, split_level
from artifactfs.paths import check_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.manifest import Page
    from artifactfs.model import Entry, PageRef
    from artifactfs.repository.treepacks import AnyPlace

PlacedRef = tuple["PageRef", "AnyPlace"]


class PageWriter(Protocol):
    """Where pages go; `ContentBatch` is one."""

    def store_tree(self, page: Page, places: Sequence[AnyPlace] = ()) -> AnyPlace:
        """Store one page of a directory, and return where it lies."""


class Top(NamedTuple):
    """The top page of a directory, or the reference to it, and where it lies."""

    page: Page | PageRef
    place: AnyPlace


class DirectoryWriter:
    """Stores one directory. Belongs to one thread."""

    def __init__(self, writer: PageWriter) -> None:
        self._writer = writer
        self._last = b""
        self._entries: list[Entry] = []
        self._places: list[AnyPlace] = []
        self._refs: list[PlacedRef] = []
        self._is_paged = False

    def add(self, entry: Entry, place: AnyPlace = None) -> None:
        """Take the next entry, in rising order of names.

        Raises:
            MalformedError: its name is not above that of the one before.
            InvalidPathError, NameTooLongError: a name that no tree may hold.
            StorageFullError: there is no room.
        """
        name = check_name(entry.name)
        if name <= self._last:
            msg = f"the names {self._last!r} and {name!r} in one directory are not in rising order"
            raise MalformedError(msg)
        self._last = name
        self._entries.append(entry)
        self._places.append(place)
        if self._is_paged:
            if is_boundary(0, name):
                self._close_page(len(self._entries))
        elif len(self._entries) > PAGE_LIMIT:
            self._is_paged = True
            self._close_pages()

    def finish(self) -> Top:
        """Store what is left, and return the top page.

        Raises:
            StorageFullError: there is no room.
        """
        if not self._is_paged:
            page = build_page(0, tuple(self._entries))
            return Top(page, store_page(self._writer, page, self._places))
        if self._entries:
            self._close_page(len(self._entries))
        return store_upper(self._writer, self._refs)

    def _close_pages(self) -> None:
        start = 0
        ends = [number for number, entry in enumerate(self._entries, 1) if is_boundary(0, entry.name)]
        for end in ends:
            self._close_page(end - start)
            start = end

    def _close_page(self, count: int) -> None:
        page = build_page(0, tuple(self._entries[:count]))
        self._refs.append((page_ref(page), store_page(self._writer, page, self._places[:count])))
        del self._entries[:count], self._places[:count]


def store_page(writer: PageWriter, page: Page, places: Sequence[AnyPlace]) -> AnyPlace:
    """Store one page with the places of its items, and return where it lies."""
    check_range(page)
    return writer.store_tree(page, places if any(place is not None for place in places) else ())


def store_upper(writer: PageWriter, refs: Sequence[PlacedRef]) -> Top:
    """Store the pages above level 0, and return the top one.

    Args:
        writer: where pages go.
        refs: all pages of level 0, in order, at least one.
    """
    placed, level = list(refs), 0
    while len(placed) > 1:
        level += 1
        pages = split_level(level, [ref for ref, _ in placed])
        above: list[PlacedRef] = []
        start = 0
        for page in pages:
            places = [place for _, place in placed[start : start + len(page.items)]]
            above.append((page_ref(page), store_page(writer, page, places)))
            start += len(page.items)
        placed = above
    return Top(*placed[0])
