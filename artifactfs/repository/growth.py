"""How much each version added to what is stored: the content that no version before it had.

Trees are Merkle trees, so a subtree that was seen is not entered again: a measurement costs what is new, once.

Used by `serve`. Threading: a Growth may be shared by threads, one of which measures at a time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import IntegrityError
from artifactfs.model import DirectoryEntry, FileEntry, PageRef
from artifactfs.repository.trees import root_placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artifactfs.model import Collection, Placement, Root
    from artifactfs.repository.trees import Trees

_PAGES_BETWEEN_LOOKS: Final = 64


@dataclass(frozen=True, slots=True)
class GrowthPoint:
    """One version.

    Attributes:
        ref: `NAME:vN`.
        time_ns: when it was made.
        size: bytes of all its files.
        added: bytes of those that no version before it had.
    """

    ref: str
    time_ns: int
    size: int
    added: int


class Growth:
    """Measures the live versions of collections, in order of time. May be shared by threads."""

    def __init__(self, trees: Trees, find: Callable[[], Iterable[Collection]]) -> None:
        """Store where trees are read, and what finds the collections that are measured, as they are now."""
        self._trees = trees
        self._find = find
        self._guard = threading.Lock()
        self._added: dict[tuple[str, int], int] = {}
        self._begun: tuple[tuple[str, int], Iterator[int | None]] | None = None
        # The first eight bytes of digests: two of a thousand million are the same with a chance of 3 percent, and then
        # a file counts as seen.
        self._trees_seen: set[bytes] = set()
        self._files_seen: set[bytes] = set()

    def measure(self, has_time: Callable[[], bool]) -> tuple[list[GrowthPoint], int]:
        """Go on measuring, and return what was measured so far, and how many versions are left.

        Args:
            has_time: asked now and then whether to go on.

        Raises:
            ArtifactFSError: what `find` raises.
        """
        with self._guard:
            wanted = list(self._iter_versions())
            left = [(name, number, root) for _, name, number, root in wanted if (name, number) not in self._added]
            left.sort(key=lambda each: self._begun is None or each[:2] != self._begun[0])  # what was begun comes first
            for name, number, root in left:
                if self._begun is None or self._begun[0] != (name, number):
                    self._begun = (name, number), self._iter_added(root)
                total = next((found for found in self._begun[1] if found is not None or not has_time()), None)
                if total is None:
                    break
                self._added[name, number], self._begun = total, None
            points = [
                GrowthPoint(f"{name}:v{number}", time_ns, root.size, self._added[name, number])
                for time_ns, name, number, root in wanted
                if (name, number) in self._added
            ]
            return points, len(wanted) - len(points)

    def _iter_versions(self) -> Iterator[tuple[int, str, int, Root]]:
        found = [
            (version.time_ns, collection.name, version.number, version.root)
            for collection in self._find()
            for version in collection.versions.values()
        ]
        yield from sorted(found, key=lambda each: each[:3])

    def _iter_added(self, root: Root) -> Iterator[int | None]:
        """Yield None now and then, and at last how many bytes are new in a version."""
        added, pages = 0, 0
        waiting: list[tuple[bytes, Placement | None]] = [(root.as_entry().tree, root_placement(root))]
        while waiting:
            tree, placement = waiting.pop()
            if tree[:8] in self._trees_seen:
                continue
            self._trees_seen.add(tree[:8])
            pages += 1
            if pages % _PAGES_BETWEEN_LOOKS == 0:
                yield None
            try:
                stored = self._trees.load_page(tree, placement)
            except IntegrityError:
                continue
            for item, place in zip(stored.page.items, stored.placements, strict=True):
                if isinstance(item, PageRef | DirectoryEntry):
                    waiting.append((item.tree, place))
                elif isinstance(item, FileEntry) and item.sha256[:8] not in self._files_seen:
                    self._files_seen.add(item.sha256[:8])
                    added += item.size
        yield added
