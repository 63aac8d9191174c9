"""Changing a few names of a large directory without rebuilding it.

Where pages end depends on names only, so a page without a changed name stays as it is, unless what stood before it
lost its end. The result is always the one that `build_directory` gives for the same entries.

Used by the tree builder. Threading: an Overlay belongs to one thread.

Source: docs/format.md section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifactfs.manifest import PAGE_LIMIT, build_page, is_boundary, page_ref
from artifactfs.model import PageRef
from artifactfs.paths import check_name
from artifactfs.repository.directorywriter import DirectoryWriter, store_page, store_upper

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artifactfs.model import DirectoryEntry, Entry, Placement
    from artifactfs.repository.directorywriter import PageWriter, PlacedRef, Top
    from artifactfs.repository.treepacks import AnyPlace
    from artifactfs.repository.trees import Trees


def store_entries(writer: PageWriter, placed: Iterable[tuple[Entry, AnyPlace]]) -> Top:
    """Store all pages of a directory, and return the top one.

    Args:
        writer: where pages go.
        placed: all entries with the places of their content, in any order.

    Raises:
        MalformedError: two entries have one name.
        InvalidPathError, NameTooLongError: a name that no tree may hold.
    """
    directory = DirectoryWriter(writer)
    for entry, place in sorted(placed, key=lambda item: item[0].name):
        directory.add(entry, place)
    return directory.finish()


@dataclass(slots=True)
class _Merge:
    """The new level-0 pages, as far as they are known.

    Attributes:
        refs: of the pages that are closed.
        rest: entries after the last page's end; they go into one page with what follows.
    """

    refs: list[PlacedRef] = field(default_factory=list)
    rest: list[tuple[Entry, AnyPlace]] = field(default_factory=list)


class Overlay:
    """Applies changes to stored directories. Belongs to one thread."""

    def __init__(self, writer: PageWriter, trees: Trees) -> None:
        self._writer = writer
        self._trees = trees

    def apply(
        self,
        base: DirectoryEntry,
        changes: Mapping[bytes, tuple[Entry, AnyPlace] | None],
        *,
        placement: Placement | None = None,
    ) -> Top:
        """Store what `base` becomes by changes, and return its top page, or the reference to that.

        Args:
            base: a stored directory.
            changes: by name, the entry that is there now and the place of its content, or None when nothing is.
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
        if sum(ref.entry_count for ref, _ in merge.refs) <= PAGE_LIMIT:
            # So few entries are one page, whatever their names.
            return self._rebuild(base, changes, placement)
        return store_upper(self._writer, merge.refs)

    def _rebuild(
        self,
        base: DirectoryEntry,
        changes: Mapping[bytes, tuple[Entry, AnyPlace] | None],
        placement: Placement | None,
    ) -> Top:
        placed: list[tuple[Entry, AnyPlace]] = [
            item for item in self._trees.load_entries(base, placement) if item[0].name not in changes
        ]
        return store_entries(self._writer, placed + [item for item in changes.values() if item is not None])

    def _merge_pages(
        self,
        base: DirectoryEntry,
        changes: Mapping[bytes, tuple[Entry, AnyPlace] | None],
        placement: Placement | None,
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
                merge.refs.append((ref, place))
            start = end
        return merge

    def _read_page(
        self,
        merge: _Merge,
        ref: PageRef,
        place: Placement | None,
        changes: Mapping[bytes, tuple[Entry, AnyPlace] | None],
    ) -> None:
        stored = self._trees.load_page(ref.tree, place)
        found = [item for item in changes.values() if item is not None]
        for item, where in zip(stored.page.items, stored.placements, strict=True):
            if not isinstance(item, PageRef) and item.name not in changes:
                found.append((item, where))
        merge.rest += sorted(found, key=lambda placed: placed[0].name)

    def _close_pages(self, merge: _Merge, *, is_last: bool) -> None:
        """Store each page that ends in what was read so far."""
        start = 0
        for index, (entry, _) in enumerate(merge.rest, 1):
            if is_boundary(0, entry.name) or (is_last and index == len(merge.rest)):
                part = merge.rest[start:index]
                page = build_page(0, tuple(item for item, _ in part))
                merge.refs.append((page_ref(page), store_page(self._writer, page, [place for _, place in part])))
                start = index
        merge.rest = merge.rest[start:]

    def _load_refs(self, base: DirectoryEntry, placement: Placement | None) -> list[tuple[PageRef, Placement | None]]:
        """Return the references to all level-0 pages of a large directory."""
        found: list[tuple[PageRef, Placement | None]] = []
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
