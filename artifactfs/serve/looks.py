"""All collections as they are now, found by looking only where something was recorded since the last look.

A local store says when a name last came into a directory. A collection whose log has the same time as at the last look
has the same state, unless that time was so near that file systems, which round it, may have given it twice.

Used by `summaries`. Threading: Looks may be shared by threads.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX, log_prefix
from artifactfs.errors import IntegrityError, InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from artifactfs.model import Collection
    from artifactfs.repository.repository import Repository

SETTLING_NS: Final = 3 * 10**9
"""No file system rounds times by more than two seconds."""


class Damaged(Struct, frozen=True):
    """A collection whose log cannot be read, and why."""

    name: str
    problem: str


class Looks:
    """Remembers what was seen, and when that was changed last. May be shared by threads; one looks at a time."""

    def __init__(self, repository: Repository) -> None:
        """Store where to look."""
        self._repository = repository
        self._guard = threading.Lock()
        find: Callable[[str], int | None] | None = getattr(repository.store, "find_stamp", None)
        self._find_stamp = find
        self._names: tuple[int, Sequence[str]] | None = None
        self._known: dict[str, tuple[int, Collection]] = {}

    def find_all(self) -> list[Collection | Damaged]:
        """Return what exists or cannot be read, in order of names.

        Raises:
            ArtifactFSError: the store cannot be read.
        """
        return [each for each in self.find_logs() if isinstance(each, Damaged) or each.exists]

    def find_logs(self) -> list[Collection | Damaged]:
        """Return what `find_all` does, and what was deleted: its log is kept."""
        if self._find_stamp is None:
            looked = self._repository.look_at_collections(with_deleted=True)
            return [Damaged(name, str(found)) if isinstance(found, IntegrityError) else found for name, found in looked]
        with self._guard:
            return [each for each in self._iter_all() if each is not None]

    def look_ahead(self, is_wanted: Callable[[], bool]) -> None:
        """Look at everything while that is wanted, so that whoever asks next need not wait for it.

        Raises:
            ArtifactFSError: the store cannot be read.
        """
        if self._find_stamp is not None:
            with self._guard:
                all(is_wanted() for _ in self._iter_all())

    def _iter_all(self) -> Iterator[Collection | Damaged | None]:
        settled = self._repository.clock.now_ns() - SETTLING_NS
        yield from (self._find(name, settled) for name in self._list(settled))

    def _list(self, settled: int) -> Sequence[str]:
        stamp = self._stamp(COLLECTIONS_PREFIX, settled)
        if stamp and self._names is not None and self._names[0] == stamp:
            return self._names[1]
        names = sorted(self._repository.store.iter_children(COLLECTIONS_PREFIX))
        self._names = stamp, names
        return names

    def _find(self, name: str, settled: int) -> Collection | Damaged | None:
        stamp = self._stamp(log_prefix(name), settled)
        known = self._known.get(name)
        if stamp and known is not None and known[0] == stamp:
            state = known[1]
        else:
            try:
                state = self._repository.load_state(name)
            except InvalidNameError:
                return None
            except IntegrityError as error:
                return Damaged(name, str(error))
            self._known[name] = stamp, state
        return state if state.seq else None

    def _stamp(self, prefix: str, settled: int) -> int:
        """Return when a name came below a prefix; 0 when that says nothing."""
        find: Any = self._find_stamp
        stamp: int | None = find(prefix)
        return stamp if stamp is not None and stamp < settled else 0
