"""Parts of versions: which entries of a directory belong to a shard, or to what is new, changed or gone.

A directory of a part has nodes of its own, and is prepared from the same stored pages as the whole one, without what
does not belong to it. Files keep the nodes that they have everywhere; but for `Apart`, which is all of a version.

Used by whoever prepares directories. Threading: pure functions over Trees.

Source: docs/design/views.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from artifactfs.model import DirectoryEntry, PageRef, SymlinkEntry
from artifactfs.repository.diff import same_content
from artifactfs.repository.trees import root_placement
from artifactfs.vfs.node_records import ADDED, MODIFIED, REMOVED, Against, Apart, Shard, directory_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import Entry, Placement, Version
    from artifactfs.repository.trees import Placed, Trees
    from artifactfs.storedpage import StoredPage
    from artifactfs.vfs.node_records import DirectoryNode, Part
    from artifactfs.vfs.nodes import NodeTable

    Chosen = tuple[Entry, Placement | None, Part | None]

SIDES = (ADDED, MODIFIED, REMOVED)
_NAME = b"-"


def iter_chosen(trees: Trees, directory: DirectoryNode, stored: StoredPage) -> Iterator[Chosen]:
    """Yield the entries of a stored page that a directory shows, in order; of directories also which part they are.

    Raises:
        IntegrityError: a directory that is compared with cannot be read.
    """
    part = directory.part
    for item, place in zip(stored.page.items, stored.placements, strict=True):
        if isinstance(item, PageRef):
            continue
        match part:
            case None:
                yield item, place, None
            case Apart():
                yield item, place, part if isinstance(item, DirectoryEntry) else None
            case Shard():
                if isinstance(item, DirectoryEntry):
                    yield item, place, part
                elif not isinstance(item, SymlinkEntry) and shard_of(item.digest.raw, part.count) == part.index:
                    yield item, place, None
            case Against():
                other = _find_other(trees, part, item.name)
                if _has_any(trees, part.side, (item, place), other):
                    yield item, place, _part_below(part.side, item, other)


def shard_of(digest: bytes, count: int) -> int:
    r"""Return in which of `count` shards content belongs, from 0: its digest decides, whatever version it is in.

    >>> shard_of(bytes(7) + b"\x0b" + bytes(24), 8)
    3
    """
    return int.from_bytes(digest[:8], "big") % count


def _find_other(trees: Trees, part: Against, name: bytes) -> Placed | None:
    if part.tree is None:
        return None
    directory = DirectoryEntry(_NAME, 0, 0, part.tree, part.tree, 0, 0)
    return trees.find_child(directory, name, part.placement)


def _has_any(trees: Trees, side: str, own: Placed, other: Placed | None) -> bool:
    """Return whether an entry, or anything in it, is to be shown."""
    waiting: list[tuple[Placed, Placed | None]] = [(own, other)]
    while waiting:
        (entry, place), there = waiting.pop()
        counterpart = None if there is None else there[0]
        are_directories = isinstance(entry, DirectoryEntry), isinstance(counterpart, DirectoryEntry)
        if counterpart is None or are_directories[0] != are_directories[1]:
            if side != MODIFIED:
                return True
        elif not isinstance(entry, DirectoryEntry):
            if side == MODIFIED and not same_content(entry, counterpart):
                return True
        elif isinstance(counterpart, DirectoryEntry) and entry.content != counterpart.content:
            known = {child[0].name: child for child in trees.load_entries(counterpart, there[1] if there else None)}
            waiting += [(child, known.get(child[0].name)) for child in trees.load_entries(entry, place)]
    return False


def _part_below(side: str, entry: Entry, other: Placed | None) -> Against | None:
    """Return of which part a directory is: None when all of it is shown."""
    if not isinstance(entry, DirectoryEntry):
        return None
    if other is None or not isinstance(other[0], DirectoryEntry):
        return None
    return Against(side, other[0].tree, other[1])


def as_part(directory: DirectoryNode, part: Part) -> DirectoryNode:
    """Return a directory that shows a part only."""
    return structs.replace(directory, part=part)


def find_top(nodes: NodeTable, collection: str, version: Version, *, is_apart: bool) -> DirectoryNode:
    """Return the top directory of a version: the one that all mounts share, or one with nodes of its own (`Apart`)."""
    entry, placement = version.root.as_entry(), root_placement(version.root)

    def make(node: int) -> DirectoryNode:
        whole = directory_record(node, entry, placement, collection=collection, version=version.number)
        return as_part(whole, Apart()) if is_apart else whole

    if is_apart:
        return make(nodes.part((collection, str(version.number), version.root.tree, "apart", ""), make))
    return make(nodes.version(collection, version, placement))
