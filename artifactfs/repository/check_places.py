"""Which versions and paths are touched by damaged objects.

Trees that reach no damage are looked at once, whatever the number of versions that share them.

Used by check. Threading: functions over a Repository.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import blob_key, pack_key, sums_key, tree_key, treepack_key
from artifactfs.digest import Digest
from artifactfs.errors import ArtifactFSError
from artifactfs.model import DirectoryEntry, FileEntry, PageRef
from artifactfs.paths import join_path
from artifactfs.repository.elsewhere import find_elsewhere, is_whole
from artifactfs.repository.trees import root_placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactfs.model import Entry, Placement, Root
    from artifactfs.repository.objects import ContentStore
    from artifactfs.storedpage import StoredPage

KEPT_PLACES: Final = 1000
"""So many places of one object are listed; the rest are counted."""

Node = tuple[bytes, "Placement | None"]


@dataclass(slots=True)
class Places:
    """Where versions have something that is lost with a damaged object.

    Attributes:
        listed: the first of them: the version as `NAME:vN`, and the entry path; b"" is the root.
        count: how many there are.
        whole: whether versions have something there that can be read all the same, there or from elsewhere.
    """

    listed: list[tuple[str, bytes]] = field(default_factory=list)
    count: int = 0
    whole: bool = False

    def add(self, version: str, path: bytes) -> None:
        """Add a place."""
        self.count += 1
        if len(self.listed) < KEPT_PLACES:
            self.listed.append((version, path))


def find_places(content: ContentStore, roots: Iterable[tuple[str, Root]], damaged: set[str]) -> dict[str, Places]:
    """Return where versions have what is lost with damaged objects, by key; only of those that versions name.

    What lies whole in a damaged pack, or is found elsewhere as readers find it, is not lost.

    Args:
        content: what is stored.
        roots: name `NAME:vN` and root of versions.
        damaged: keys of objects.
    """
    content.forget()
    finder = _Finder(content, damaged)
    found: dict[str, Places] = defaultdict(Places)
    for version, root in roots:
        for key, path in finder.iter_damage(root):
            found[key].add(version, path)
    for key in finder.whole:
        found[key].whole = True
    return dict(found)


class _Finder:
    def __init__(self, content: ContentStore, damaged: set[str]) -> None:
        self._content = content
        self._intact: dict[Node, bool] = {}
        self._damaged = damaged
        self._clean: set[Node] = set()
        self._lost: set[Node] = set()
        self.whole: set[str] = set()

    def iter_damage(self, root: Root) -> Iterator[tuple[str, bytes]]:
        """Yield key and path of everything below a root that is lost."""
        top = (root.as_entry().tree, root_placement(root))
        self._mark_clean(top)
        waiting: list[tuple[Node, bytes]] = [(top, b"")]
        while waiting:
            node, path = waiting.pop()
            if node in self._clean:
                continue
            key = self._find_page_damage(node)
            if key is not None:
                yield key, path
            for item, place, below in self._iter_items(node):
                name = path if isinstance(item, PageRef) else join_path(path, item.name)
                if below is not None:
                    waiting.append((below, name))
                elif isinstance(item, FileEntry):
                    yield from ((damage, name) for damage in self._iter_file_damage(item, place))

    def _mark_clean(self, top: Node) -> None:
        """Find out which trees reach no damage: children first, each once."""
        stack: list[tuple[Node, bool]] = [(top, False)]
        seen: set[Node] = set()
        while stack:
            node, is_left = stack.pop()
            if is_left:
                if self._is_clean(node):
                    self._clean.add(node)
            elif node not in self._clean and node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack += [(below, False) for _, _, below in self._iter_items(node) if below is not None]

    def _is_clean(self, node: Node) -> bool:
        is_clean = self._find_page_damage(node) is None
        for item, place, below in self._iter_items(node):  # all of them, for what is whole
            if below is not None and below not in self._clean:
                is_clean = False
            if isinstance(item, FileEntry) and any(True for _ in self._iter_file_damage(item, place)):
                is_clean = False
        return is_clean

    def _find_page_damage(self, node: Node) -> str | None:
        key = _page_key(node)
        if key not in self._damaged:
            return None
        if self._read(node) is None:
            return key
        self.whole.add(key)
        return None

    def _iter_file_damage(self, entry: FileEntry, place: Placement | None) -> Iterator[str]:
        key = blob_key(entry.sha256) if place is None else pack_key(place.pack)
        if key in self._damaged:
            if self._is_intact(entry, place):
                self.whole.add(key)
            else:
                yield key
        if entry.sums is not None:
            yield from {sums_key(entry.sums)} & self._damaged

    def _is_intact(self, entry: FileEntry, place: Placement | None) -> bool:
        """Return whether the content of a file can be read: from a damaged pack, or from elsewhere."""
        key = (entry.sha256, place)
        if key not in self._intact:
            is_there = place is not None and is_whole(self._content, entry, place)
            self._intact[key] = is_there or find_elsewhere(self._content, entry, place) is not None
        return self._intact[key]

    def _iter_items(self, node: Node) -> Iterator[tuple[Entry | PageRef, Placement | None, Node | None]]:
        page = self._read(node)
        for item, place in zip(page.page.items, page.placements, strict=True) if page is not None else ():
            yield item, place, (item.tree, place) if isinstance(item, DirectoryEntry | PageRef) else None

    def _read(self, node: Node) -> StoredPage | None:
        if node in self._lost:
            return None
        try:
            # What lies elsewhere than it should is looked for only where damage was found.
            reader = self._content if _page_key(node) in self._damaged else self._content.in_place
            return reader.read_tree(Digest(node[0]), node[1])
        except ArtifactFSError:
            self._lost.add(node)
            return None


def _page_key(node: Node) -> str:
    tree, place = node
    return tree_key(tree) if place is None else treepack_key(place.pack)
