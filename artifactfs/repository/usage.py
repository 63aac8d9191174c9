"""How much of each pack is still reached, and which packs are worth writing again.

Used by prune and `repack`. Threading: a PackUsage belongs to one thread; a Repacking is an immutable value.

Source: docs/design/prune.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import PACKS_PREFIX, TREEPACKS_PREFIX, digest_key
from artifactfs.repository.reach import Reach, iter_files

if TYPE_CHECKING:
    from artifactfs.blobstore.base import ObjectReader
    from artifactfs.model import Placement, Root
    from artifactfs.repository.trees import PageReader
    from artifactfs.storedpage import StoredPage

SMALL: Final = {PACKS_PREFIX: 16 << 20, TREEPACKS_PREFIX: 4 << 20}
"""Packs below so many bytes are merged."""
MERGE_FROM: Final = 8
"""Once there are so many small ones: each merge writes a record for every version that they hold something of."""


class PackUsage(Reach):
    """Collects what is reached, and which parts of packs. Belongs to one thread.

    Attributes:
        sizes: bytes in packs of which a listing told them.
    """

    def __init__(self, reader: PageReader) -> None:
        super().__init__(reader)
        self.sizes: dict[bytes, int] = {}
        # By prefix and pack, the size of each part by its offset: versions share parts.
        self._parts: dict[str, dict[bytes, dict[int, int]]] = {PACKS_PREFIX: {}, TREEPACKS_PREFIX: {}}
        self._held = Reach(reader)

    def hold(self, root: Root) -> None:
        """Add what is reached from a part of a draft. Its packs stay as they are: no log says where it lies."""
        self.add_root(root)
        self._held.add_root(root)

    def is_held(self, prefix: str, pack: bytes) -> bool:
        """Return whether a part of a draft lies in a pack."""
        return self._held.objects.has(prefix, pack)

    def enter_page(self, tree: bytes, placement: Placement | None) -> StoredPage | None:
        """Return a stored page the first time that it is met, and note where it lies."""
        if placement is not None:
            self._note(TREEPACKS_PREFIX, placement)
        return super().enter_page(tree, placement)

    def take_files(self, stored: StoredPage) -> None:
        """Add the blobs or packs of files, their sums, and their parts of packs."""
        for _, placement in iter_files(stored):
            if placement is not None:
                self._note(PACKS_PREFIX, placement)
        super().take_files(stored)

    def live_sizes(self, prefix: str) -> dict[bytes, int]:
        """Return by pack how many of its bytes are reached."""
        return {pack: sum(parts.values()) for pack, parts in self._parts[prefix].items()}

    def find_size(self, store: ObjectReader, prefix: str, pack: bytes) -> int | None:
        """Return the bytes in a pack; None when it is not there."""
        size = self.sizes.get(pack)
        return store.find_size(digest_key(prefix, pack)) if size is None else size

    def _note(self, prefix: str, placement: Placement) -> None:
        parts = self._parts[prefix].setdefault(placement.pack, {})
        if placement.size:  # an empty file lies where another one begins
            parts[placement.offset] = placement.size


@dataclass(frozen=True, slots=True)
class Repacking:
    """Packs that are worth writing again.

    Attributes:
        packs: raw digests of packs and tree packs.
        size: bytes of these now.
        live: bytes of these that are reached, and are written again.
        blobs: raw digests of damaged blobs: a file of which the content lies in a pack, too, is said to lie there.
    """

    packs: frozenset[bytes] = frozenset()
    size: int = 0
    live: int = 0
    blobs: frozenset[bytes] = frozenset()

    @property
    def freed(self) -> int:
        """Bytes that writing them again frees."""
        return max(0, self.size - self.live)


def choose_packs(store: ObjectReader, usage: PackUsage) -> Repacking:
    """Return the packs of which most is reached by nothing, and the small ones when there are many of these."""
    chosen: set[bytes] = set()
    size = live_size = 0
    for prefix in SMALL:
        found = [
            (pack, pack_size, live)
            for pack, live in usage.live_sizes(prefix).items()
            if not usage.is_held(prefix, pack) and (pack_size := usage.find_size(store, prefix, pack)) is not None
        ]
        small = [pack for pack, pack_size, _ in found if pack_size < SMALL[prefix]]
        merged = frozenset(small if len(small) >= MERGE_FROM else ())
        for pack, pack_size, live in found:
            if 2 * live < pack_size or pack in merged:
                chosen.add(pack)
                size, live_size = size + pack_size, live_size + live
    return Repacking(frozenset(chosen), size, live_size)
