"""Whether what is mounted is mostly large files: most of the files are, and most of the bytes are in such.

Found with a bounded effort, when a mount is made. Totals of versions are in the logs; where these leave it open, the
trees are read, up to a number of entries, and what they say stands for the rest of each version.

Used by `choice`. Threading: functions without state.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError
from artifactfs.model import FileEntry, Root
from artifactfs.repository.trees import Trees
from artifactfs.repository.watching import list_collections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.repository.locked import Locked
    from artifactfs.repository.repository import Repository

LARGE_BYTES: Final = 16 << 20
"""Size from which a file is large: opening it costs a request, which reading it by the kernel alone makes up for."""
ENTRIES: Final = 10_000
"""So many entries of trees are looked at."""
COLLECTIONS: Final = 100
"""So many collections of a repository are looked at, evenly spread over their names."""


@dataclass(slots=True)
class _Sum:
    """Files and bytes, and those of large files among them."""

    files: float = 0.0
    large_files: float = 0.0
    size: float = 0.0
    large_size: float = 0.0

    @property
    def is_mostly_large(self) -> bool:
        return 2 * self.large_files > self.files and 2 * self.large_size > self.size


def is_mostly_large(repository: Repository, roots: Sequence[Root]) -> bool:
    """Return whether versions with these top directories are mostly large files.

    Nothing in an object store is: its files are not on this machine, so the kernel cannot read them.
    """
    possible = sum(min(root.count, root.size // LARGE_BYTES) for root in roots)
    if repository.is_remote or 2 * possible <= sum(root.count for root in roots):
        return False
    trees, found = Trees(repository.blobs), _Sum()
    limit = max(ENTRIES // len(roots), 1)
    try:
        for root in roots:
            _add(found, root, _count(trees, root, limit))
    except ArtifactFSError:
        return False  # reading it says what is wrong
    return found.is_mostly_large


def find_newest(repository: Repository, locked: Locked | None) -> list[Root]:
    """Return the top directory of the newest version of collections, as many as are looked at."""
    if repository.is_remote:
        return []
    names = sorted(list_collections(repository))
    step = max(-(-len(names) // COLLECTIONS), 1)
    found = []
    for name in names[::step]:
        try:
            state = repository.find_collection(name)
        except ArtifactFSError:
            continue
        if state is not None and locked is not None:
            state = locked.restrict(state)
        if state is not None and state.versions:
            found.append(state.versions[max(state.versions)].root)
    return found


def _count(trees: Trees, root: Root, limit: int) -> _Sum:
    found = _Sum()
    for _, entry in islice(trees.iter_tree(root), limit):
        if isinstance(entry, FileEntry):
            is_large = entry.size >= LARGE_BYTES
            found.files += 1
            found.size += entry.size
            found.large_files += is_large
            found.large_size += entry.size * is_large
    return found


def _add(total: _Sum, root: Root, seen: _Sum) -> None:
    """Add a version of which a part was seen: the rest is taken to be alike."""
    total.files += root.count
    total.size += root.size
    if seen.files:
        total.large_files += root.count * seen.large_files / seen.files
    if seen.size:
        total.large_size += root.size * seen.large_size / seen.size
