"""Which small blobs may be objects of their own: told by few listings, instead of by asking for each.

Used by `blobbatch.py`. Threading: a LooseNames may be shared by threads.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import BLOBS_PREFIX, blob_key

if TYPE_CHECKING:
    from artifactfs.blobstore.base import Store

LISTED_LIMIT: Final = 512
"""Of folders with so many loose blobs no list is kept."""
FAR_LIMIT: Final = 1000
"""So many loose blobs of a store far away are listed: one answer."""
FAR_ASKED: Final = 64


class LooseNames:
    """What is known of loose blobs. May be shared by threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, frozenset[str]] = {}
        self._asked = self._found = 0

    def may_have(self, sha256: bytes) -> bool:
        """Return whether a blob may be an object of its own, so that it is worth asking."""
        key = blob_key(sha256)
        if self._store.keeps_checksums:
            return self._may_be_far(key)
        names = self._list(key[: key.rindex("/") + 1], LISTED_LIMIT)
        return len(names) == LISTED_LIMIT or key in names

    def note(self, *, is_there: bool) -> None:
        """Take what the store answered."""
        self._found += is_there

    def _may_be_far(self, key: str) -> bool:
        """Return the same for a store of which each answer takes time.

        One listing tells, as long as there are few. Where there are many, the store is asked, until it is plain that
        small ones are not among them: one that is stored twice is no damage.
        """
        names = self._list(BLOBS_PREFIX, FAR_LIMIT)
        if len(names) < FAR_LIMIT or key in names:
            return key in names
        self._asked += 1
        return self._asked <= FAR_ASKED or self._found > 0

    def _list(self, folder: str, limit: int) -> frozenset[str]:
        names = self._known.get(folder)
        if names is None:
            names = self._known[folder] = frozenset(islice(self._store.iter_keys(folder), limit))
        return names
