"""Which versions and paths are touched by damaged objects.

Trees that reach no damage are looked at once, whatever the number of versions that share them.

Used by check. Threading: functions over a Repository.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.hashing import hash_file
from artifactfs.blobstore.keys import blob_key, pack_key, sums_key, tree_key, treepack_key
from artifactfs.digest import Digest
from artifactfs.errors import ArtifactFSError
from artifactfs.model import DirectoryEntry, FileEntry, PageRef
from artifactfs.paths import join_path
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
    """Where versions have an object.

    Attributes:
        listed: the first of them: the version as `NAME:vN`, and the entry path; b"" is the root.
        count: how many there are.
    """

    listed: list[tuple[str, bytes]] = field(default_factory=list)
    count: int = 0

    def add(self, version: str, path: bytes) -> None:
        """Add a place."""
        self.count += 1
        if len(self.listed) < KEPT_PLACES:
            self.listed.append((version, path))


def find_places(content: ContentStore, roots: Iterable[tuple[str, Root]], damaged: set[str]) -> dict[str, Places]:
    """Return where versions have damaged objects, by key.

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
    return dict(found)


class _Finder:
    def __init__(self, content: ContentStore, damaged: set[str]) -> None:
        self._content = content
        self._intact: dict[tuple[bytes, bytes, int], bool] = {}
        self._damaged = damaged
        self._clean: set[Node] = set()

    def iter_damage(self, root: Root) -> Iterator[tuple[str, bytes]]:
        """Yield key and path of everything damaged below a root."""
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
        if self._find_page_damage(node) is not None:
            return False
        for item, place, below in self._iter_items(node):
            if below is not None and below not in self._clean:
                return False
            if isinstance(item, FileEntry) and any(True for _ in self._iter_file_damage(item, place)):
                return False
        return True

    def _find_page_damage(self, node: Node) -> str | None:
        tree, place = node
        key = tree_key(tree) if place is None else treepack_key(place.pack)
        return key if key in self._damaged and self._read(node) is None else None

    def _iter_file_damage(self, entry: FileEntry, place: Placement | None) -> Iterator[str]:
        if place is None:
            yield from {blob_key(entry.sha256)} & self._damaged
        elif pack_key(place.pack) in self._damaged and not self._is_intact(entry, place):
            yield pack_key(place.pack)
        if entry.sums is not None:
            yield from {sums_key(entry.sums)} & self._damaged

    def _is_intact(self, entry: FileEntry, place: Placement) -> bool:
        """Return whether a file in a damaged pack is as it was."""
        key = (entry.sha256, place.pack, place.offset)
        if key not in self._intact:
            try:
                file = self._content.open_blob(entry, place)
                self._intact[key] = file.size == entry.size and hash_file(file) == entry.sha256
            except (ArtifactFSError, OSError):
                self._intact[key] = False
        return self._intact[key]

    def _iter_items(self, node: Node) -> Iterator[tuple[Entry | PageRef, Placement | None, Node | None]]:
        page = self._read(node)
        for item, place in zip(page.page.items, page.placements, strict=True) if page is not None else ():
            yield item, place, (item.tree, place) if isinstance(item, DirectoryEntry | PageRef) else None

    def _read(self, node: Node) -> StoredPage | None:
        try:
            return self._content.in_place.read_tree(Digest(node[0]), node[1])
        except ArtifactFSError:
            return None
