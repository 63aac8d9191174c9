"""The present states of a repository's collections, found with the least reading of their logs.

Used by `repository.py`. What the index and this process remember only saves work: a newer record is looked for first.

Threading: may be shared by threads, not by forked processes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX
from artifactfs.errors import IntegrityError, InvalidNameError
from artifactfs.paths import check_collection_name
from artifactfs.repository.outage import UNANSWERED
from artifactfs.repository.polling import Polling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.blobstore.base import Store
    from artifactfs.model import Collection
    from artifactfs.repository.log import Log
    from artifactfs.repository.outage import Outage
    from artifactfs.repository.records import Body, Record
    from artifactfs.repository.witness import Witness

Result = TypeVar("Result")
COLLECTIONS_AT_ONCE: Final = 16
"""How many are looked at together where each look waits for a network."""


class StateIndex(Protocol):
    """What remembers states between processes. Anything may be forgotten at any time."""

    def find_collection(self, name: str) -> Collection | None:
        """Return a state that was put earlier."""

    def put_collection(self, collection: Collection) -> None:
        """Remember a state."""


class States:
    """States by collection. May be shared by threads."""

    def __init__(
        self,
        store: Store,
        log: Log,
        *,
        witness: Witness,
        index: StateIndex | None,
        poll_seconds: float | None = None,
        outage: Outage | None = None,
    ) -> None:
        """Store where the logs are and who remembers.

        Args:
            store: holds the logs.
            log: reads and writes them.
            witness: is told of each state that is seen.
            index: remembers states; None remembers them in this process alone.
            poll_seconds: for how long a state is taken to be the present one, where looking costs a round trip; None
                where it costs next to nothing.
            outage: notes that the store does not answer; the last known states are served then. None never does.
        """
        self._store = store
        self._log = log
        self._witness = witness
        self._index = index
        self._is_remote = poll_seconds is not None
        self._polling = Polling(poll_seconds or 0.0)
        self._outage = outage
        self._known: dict[str, Collection] = {}

    def names(self) -> list[str]:
        """Return the names of all collections that exist or cannot be read, in order."""
        return [name for name, _ in self.look_at_all()]

    def look_at_all(self, *, with_deleted: bool = False) -> list[tuple[str, Collection | IntegrityError]]:
        """Return all collections that exist or cannot be read, in order of names, with their state or what is wrong."""
        names = self._list_names()
        found = zip(names, self._map(self._look, names), strict=True)
        return [(name, state) for name, state in found if state is not None and _is_wanted(state, with_deleted)]

    def load(self, name: str) -> Collection:
        """Return the present state of a collection; see `Repository.load_state`."""
        if self._polling.is_fresh(name):
            return self._known[name]
        known = self._find_known(name)
        outage = self._outage if known is not None and known.seq else None
        if known is None or outage is None:
            return self._load_present(name, known)
        if outage.is_on():
            return known
        try:
            return outage.run("state", lambda: self._load_present(name, known))
        except UNANSWERED as error:
            outage.note(error)
            return known

    def _load_present(self, name: str, known: Collection | None) -> Collection:
        state = self._load_newer(name, known)
        newer = self._known.get(name)
        if newer is not None and newer is not known and newer.seq > state.seq:
            return newer  # found meanwhile by another thread; this one may have waited long
        if state is not known:
            self._remember(state)
        if self._is_remote:
            self._known[name] = state
            self._polling.note(name)
        return state

    def _load_newer(self, name: str, known: Collection | None) -> Collection:
        if known is not None and known.seq and self._polling.is_compared(name):
            return self._log.advance(known)  # compared with the log before; records never change
        return self._log.load(name, known)

    def load_all(self) -> Iterator[Collection]:
        """Yield the present state of each collection that can be read."""
        for name in self._store.iter_children(COLLECTIONS_PREFIX):
            with suppress(InvalidNameError, IntegrityError):
                yield self.load(name)

    def append(
        self, name: str, change: Callable[[Collection], Body], *, message: str, run: str | None, change_id: str | None
    ) -> tuple[Collection, Record]:
        """Record a change durably, and return the state after it and the record; see `Log.append`.

        Raises:
            MalformedError: the log is damaged, or was cut; nothing was recorded.
            ArtifactFSError: see `Log.append`.
        """
        known = self._find_known(name)
        last = self._witness.find_last(check_collection_name(name))

        def checked(state: Collection) -> Body:
            self._witness.check_not_cut(state, last)
            return change(state)

        state, record = self._log.append(name, checked, message=message, run=run, known=known, change_id=change_id)
        self._remember(state)
        self._polling.note(name)
        return state, record

    def refresh(self) -> None:
        """Look again at whatever is asked for next, also where the poll interval has not passed."""
        self._polling.clear()

    def _list_names(self) -> list[str]:
        """Return the names of all collections, in order; those of which a state is known while nobody answers."""
        outage = self._outage
        if outage is None:
            return self._ask_names()
        if outage.is_on() and (known := self._list_known()):
            return known
        try:
            return outage.run("names", self._ask_names) if self._knows_any() else self._ask_names()
        except UNANSWERED as error:
            known = self._list_known()
            if not known:
                raise
            outage.note(error)
            return known

    def _ask_names(self) -> list[str]:
        return sorted(self._store.iter_children(COLLECTIONS_PREFIX))

    def _knows_any(self) -> bool:
        return next(self._iter_known(), None) is not None

    def _list_known(self) -> list[str]:
        return list(self._iter_known())

    def _iter_known(self) -> Iterator[str]:
        for name in self._witness.names():
            state = self._find_known(name)
            if state is not None and state.seq:
                yield name

    def _map(self, function: Callable[[str], Result], names: list[str]) -> list[Result]:
        if not self._is_remote or len(names) < 2:
            return [function(name) for name in names]
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 (costs local commands 8 ms)

        with ThreadPoolExecutor(COLLECTIONS_AT_ONCE, "look") as threads:
            return list(threads.map(function, names))

    def _look(self, name: str) -> Collection | IntegrityError | None:
        try:
            return self.load(name)
        except InvalidNameError:
            return None
        except IntegrityError as error:
            return error

    def _find_known(self, name: str) -> Collection | None:
        known = self._known.get(name)
        if known is None and self._index is not None:
            known = self._index.find_collection(check_collection_name(name))
            if known is not None:
                self._known[name] = known
        return known

    def _remember(self, state: Collection) -> None:
        if not state.seq:
            return
        self._known[state.name] = state
        self._witness.note(state, self._log.find_digest)
        if self._index is not None:
            self._index.put_collection(state)


def _is_wanted(state: Collection | IntegrityError, with_deleted: bool) -> bool:  # noqa: FBT001
    return isinstance(state, IntegrityError) or state.exists or (with_deleted and state.seq > 0)
