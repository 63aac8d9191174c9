"""What the functions of the API work on.

Used by all of `serve`. Threading: shared by the threads that answer; what changes in it is guarded where it lies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from cachetools import LRUCache

if TYPE_CHECKING:
    from artifactfs.blobstore.diskcache import DiskCache
    from artifactfs.mount.options import Places
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.trees import Trees
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.lineage import Lineage
    from artifactfs.serve.looks import Looks

REMEMBERED: Final = 64
TIMES_REMEMBERED: Final = 1 << 18
Value = TypeVar("Value")


class Memo:
    """Answers that cost something, by what they are made of and nothing else. May be shared by threads."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._guard = threading.Lock()
        self._values: LRUCache[Hashable, object] = LRUCache(size)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what `make` returned for this key before, else what it returns now."""
        with self._guard:
            found = self._values.get(key)
        if found is None:
            found = make()
            with self._guard:
                self._values[key] = found
        return found  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Context:
    """What is served, to whom, and how.

    Attributes:
        repository: what is looked at.
        trees: reads its directories.
        runs: its runs.
        lineage: its graph.
        places: where things are on this machine.
        cache: what was fetched and is kept; None when nothing says where.
        csrf: what a request that changes something must carry.
        may_write: whether anything may be changed.
        looks: all collections as they are now.
        memo: answers that cost something.
        times: when records of logs were made, by collection and number.
    """

    repository: Repository
    trees: Trees
    runs: RunLog
    lineage: Lineage
    places: Places
    cache: DiskCache | None
    csrf: str
    may_write: bool
    looks: Looks
    memo: Memo = field(default_factory=Memo)
    times: Memo = field(default_factory=lambda: Memo(TIMES_REMEMBERED))
