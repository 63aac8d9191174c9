"""Storing pages of directories, and changing a few names of a large directory without rebuilding it.

Where pages end depends on names only, so a page without a changed name stays as it is, unless what stood before it
lost its end. The result is always the one that `build_directory` gives for the same entries.

Used by the tree builder. Threading: an Overlay belongs to one thread.

Source: docs/format.md section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from artifactfs.manifest import PAGE_LIMIT, build_directory, build_page, is_boundary, page_ref, split_level
from artifactfs.model import PageRef
from artifactfs.paths import check_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from artifactfs.manifest import Page
    from artifactfs.model import DirectoryEntry, Entry, Placement
    from artifactfs.repository.trees import Trees

Places = dict[bytes, "Placement | None"]
"""Where the content of an item lies, by the item's name (that of a page reference is its last name)."""

PlacedRef = tuple[PageRef, "Placement | None"]


class PageWriter(Protocol):
    """Where pages go; `ContentBatch` is one."""

    def store_tree(self, page: Page, placements: Sequence[Placement | None] = ()) -> None:
        """Store one page of a directory."""


def store_entries(writer: PageWriter, entries: list[Entry], places: Places) -> Page:
    """Store all pages of a directory, and return the top one.

    Raises:
        MalformedError: two entries have one name.
        InvalidPathError, NameTooLongError: a name that no tree may hold.
    """
    pages = build_directory(entries)
    for page in pages:
        store_page(writer, page, places if page.level == 0 else {})
    return pages[-1]


def store_page(writer: PageWriter, page: Page, places: Places) -> None:
    """Store one page with the places of its items."""
    if not places:
        writer.store_tree(page)
        return
    names = [item.last if isinstance(item, PageRef) else item.name for item in page.items]
    writer.store_tree(page, tuple(places.get(name) for name in names))


@dataclass(slots=True)
class _Merge:
    """The new level-0 pages, as far as they are known.

    Attributes:
        refs: of the pages that are closed.
        ref_places: where those lie that stayed.
        rest: entries after the last page's end; they go into one page with what follows.
        rest_places: where the content of entries lies.
    """

    refs: list[PageRef] = field(default_factory=list)
    ref_places: Places = field(default_factory=dict)
    rest: list[Entry] = field(default_factory=list)
    rest_places: Places = field(default_factory=dict)


class Overlay:
    """Applies changes to stored directories. Belongs to one thread."""

    def __init__(self, writer: PageWriter, trees: Trees) -> None:
        self._writer = writer
        self._trees = trees

    def apply(
        self, base: DirectoryEntry, changes: Mapping[bytes, Entry | None], *, placement: Placement | None = None
    ) -> Page | PageRef:
        """Store what `base` becomes by changes, and return its top page, or the reference to that.

        Args:
            base: a stored directory.
            changes: by name, the entry that is there now, or None when nothing is.
            placement: where the top page of `base` lies, when not as an object of its own.

        Raises:
            InvalidPathError, NameTooLongError: a name that no tree may hold.
            BlobMissingError, DigestMismatchError, MalformedError: `base` cannot be read.
        """
        for name in changes:
            check_name(name)
        if self._trees.load_page(base.tree, placement).page.level == 0:
            return self._rebuild(base, changes, placement)
        merge = self._merge_pages(base, changes, placement)
        if sum(ref.entry_count for ref in merge.refs) <= PAGE_LIMIT:
            # So few entries are one page, whatever their names.
            return self._rebuild(base, changes, placement)
        return self._store_upper(merge)

    def _rebuild(
        self, base: DirectoryEntry, changes: Mapping[bytes, Entry | None], placement: Placement | None
    ) -> Page:
        kept = [placed for placed in self._trees.load_entries(base, placement) if placed[0].name not in changes]
        entries = [entry for entry, _ in kept] + [entry for entry in changes.values() if entry is not None]
        return store_entries(self._writer, entries, {entry.name: place for entry, place in kept if place is not None})

    def _merge_pages(
        self, base: DirectoryEntry, changes: Mapping[bytes, Entry | None], placement: Placement | None
    ) -> _Merge:
        merge = _Merge()
        names = sorted(changes)
        start = 0
        refs = self._load_refs(base, placement)
        for number, (ref, place) in enumerate(refs, 1):
            is_last = number == len(refs)
            end = start
            while end < len(names) and (is_last or names[end] <= ref.last):
                end += 1
            if merge.rest or end > start:
                self._read_page(merge, ref, place, {name: changes[name] for name in names[start:end]})
                self._close_pages(merge, is_last=is_last)
            else:
                merge.refs.append(ref)
                merge.ref_places[ref.last] = place
            start = end
        return merge

    def _read_page(
        self, merge: _Merge, ref: PageRef, place: Placement | None, changes: Mapping[bytes, Entry | None]
    ) -> None:
        stored = self._trees.load_page(ref.tree, place)
        found: list[Entry] = [entry for entry in changes.values() if entry is not None]
        for item, where in zip(stored.page.items, stored.placements, strict=True):
            if not isinstance(item, PageRef) and item.name not in changes:
                found.append(item)
                if where is not None:
                    merge.rest_places[item.name] = where
        merge.rest += sorted(found, key=lambda entry: entry.name)

    def _close_pages(self, merge: _Merge, *, is_last: bool) -> None:
        """Store each page that ends in what was read so far."""
        start = 0
        for index, entry in enumerate(merge.rest, 1):
            if is_boundary(0, entry.name) or (is_last and index == len(merge.rest)):
                page = build_page(0, tuple(merge.rest[start:index]))
                store_page(self._writer, page, merge.rest_places)
                merge.refs.append(page_ref(page))
                start = index
        merge.rest = merge.rest[start:]

    def _store_upper(self, merge: _Merge) -> PageRef:
        refs, places, level = merge.refs, merge.ref_places, 0
        while len(refs) > 1:
            level += 1
            pages = split_level(level, refs)
            for page in pages:
                store_page(self._writer, page, places if any(places.values()) else {})
            refs, places = [page_ref(page) for page in pages], {}
        return refs[0]

    def _load_refs(self, base: DirectoryEntry, placement: Placement | None) -> list[PlacedRef]:
        """Return the references to all level-0 pages of a large directory."""
        found: list[PlacedRef] = []
        waiting: list[tuple[bytes, Placement | None]] = [(base.tree, placement)]
        while waiting:
            stored = self._trees.load_page(*waiting.pop())
            below = [
                (item, place)
                for item, place in zip(stored.page.items, stored.placements, strict=True)
                if isinstance(item, PageRef)
            ]
            if stored.page.level == 1:
                found += below
            else:
                waiting += reversed([(ref.tree, place) for ref, place in below])
        return found
