"""Looking through the trees of all versions for where content lies now.

Placements are hints: prune moves content, and an index can be deleted. When something is not where it should be, the
logs are read again and every tree that is reachable says where it has its content. What is found is remembered.

Used by the repository. Threading: a Survey may be shared by threads; one looks at a time.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import pack_key, treepack_key
from artifactfs.blobstore.places import SEEN, TREES
from artifactfs.digest import Digest
from artifactfs.errors import ArtifactFSError
from artifactfs.model import DirectoryEntry, FileEntry, PageRef, Placement
from artifactfs.repository.trees import root_placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artifactfs.model import Collection, Entry, Root
    from artifactfs.repository.objects import ContentStore
    from artifactfs.storedpage import StoredPage

VERSIONS: Final = b"v"
"""Table of versions that were looked through already, by the digest of root and placement."""


class Survey:
    """Finds places. May be shared by threads."""

    def __init__(self, content: ContentStore, load_states: Callable[[], Iterable[Collection]]) -> None:
        """Store what is looked through, and how the present states of all collections are read."""
        self._content = content
        self._load_states = load_states
        self._guard = threading.RLock()
        self._heads: frozenset[str] | None = None
        self._others: dict[tuple[bytes, bytes], list[Placement]] = {}

    def find_places(self, table: bytes, digest: bytes) -> list[Placement]:
        """Return all known places of a file (`SEEN`) or page (`TREES`), after a look at versions that are new.

        Args:
            table: which kind.
            digest: raw, of the content or of the tree.
        """
        with self._guard:
            states = list(self._load_states())
            heads = frozenset(state.head for state in states)
            if heads != self._heads:
                self._others.clear()
                self._look(_roots(states))
                self._heads = heads
            known = self._content.places.find_places(table, (digest,)).get(digest)
            others = self._others.get((table, digest), [])
            return [Placement(known.pack, known.offset, known.size), *others] if known is not None else others

    def learn_new(self) -> None:
        """Look through versions that were not looked through before."""
        with self._guard:
            roots = [root for root in _roots(self._load_states()) if root.placement is not None]
            keys = {_version_key(root): root for root in roots}
            known = self._content.places.find_places(VERSIONS, list(keys))
            fresh = [root for key, root in keys.items() if key not in known]
            if fresh:
                self._look(fresh, skip_known=True)
                self.mark(fresh)

    def mark(self, roots: Iterable[Root]) -> None:
        """Remember that the content of versions is known."""
        items = [(_version_key(root), place) for root in roots if (place := root_placement(root)) is not None]
        self._content.places.add_places(VERSIONS, items)

    def _look(self, roots: Iterable[Root], *, skip_known: bool = False) -> None:
        """Note the places in these trees; with `skip_known` not below pages that are known to lie there."""
        visited: set[tuple[bytes, Placement | None]] = set()
        there: dict[str, bool] = {}
        for root in roots:
            waiting = [(root.as_entry().digest, root_placement(root))]
            while waiting:
                digest, place = waiting.pop()
                if (digest.raw, place) in visited:
                    continue
                visited.add((digest.raw, place))
                if skip_known and place is not None and self._is_known(digest.raw, place):
                    continue
                try:
                    stored = self._content.read_stored_tree(digest, place)
                except ArtifactFSError:
                    continue  # damaged or gone; another version may have it
                if place is not None:
                    self._note(TREES, {digest.raw: place}, there)
                self._note(SEEN, dict(_placed_files(stored)), there)
                waiting += _placed_trees(stored)

    def _is_known(self, tree: bytes, place: Placement) -> bool:
        known = self._content.places.find_places(TREES, (tree,)).get(tree)
        return known is not None and (known.pack, known.offset) == (place.pack, place.offset)

    def _note(self, table: bytes, found: dict[bytes, Placement], there: dict[str, bool]) -> None:
        make_key = treepack_key if table == TREES else pack_key
        known = self._content.places.find_places(table, list(found))
        fresh = []
        for digest, place in found.items():
            if not self._has(make_key(place.pack), there):
                continue
            old = known.get(digest)
            is_same = old is not None and (old.pack, old.offset, old.size) == (place.pack, place.offset, place.size)
            if old is None or (not is_same and not self._has(make_key(old.pack), there)):
                fresh.append((digest, place))
            elif not is_same:
                others = self._others.setdefault((table, digest), [])
                if place not in others:
                    others.append(place)
        self._content.places.add_places(table, fresh)

    def _has(self, key: str, there: dict[str, bool]) -> bool:
        if key not in there:
            there[key] = self._content.store.find_size(key) is not None
        return there[key]


def _roots(states: Iterable[Collection]) -> list[Root]:
    return [version.root for state in states for version in state.versions.values()]


def _version_key(root: Root) -> bytes:
    return hashlib.sha256(f"{root.tree} {root.placement}".encode()).digest()


def _placed_files(stored: StoredPage) -> Iterator[tuple[bytes, Placement]]:
    item: Entry | PageRef
    for item, place in zip(stored.page.items, stored.placements, strict=True):
        if isinstance(item, FileEntry) and place is not None:
            yield item.sha256, place


def _placed_trees(stored: StoredPage) -> Iterator[tuple[Digest, Placement | None]]:
    item: Entry | PageRef
    for item, place in zip(stored.page.items, stored.placements, strict=True):
        if isinstance(item, (DirectoryEntry, PageRef)):
            yield Digest(item.tree), place
