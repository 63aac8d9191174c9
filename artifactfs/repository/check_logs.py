"""Check of everything that is not content: collections, runs, steps of prunes and drafts.

Used by check. Threading: a LogAudit belongs to one thread.

Source: docs/format.md sections 5, 6, 8 and 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import (
    COLLECTIONS_PREFIX,
    CONDEMNED,
    DONE,
    PRUNE_PREFIX,
    VERDICT,
    is_prune_id,
)
from artifactfs.errors import ArtifactFSError, InvalidNameError
from artifactfs.paths import check_collection_name
from artifactfs.repository.check_collections import CollectionAudit
from artifactfs.repository.check_drafts import check_drafts
from artifactfs.repository.check_runs import check_runs
from artifactfs.repository.prune_steps import Condemned, Done, Verdict, decode_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactfs.model import Collection, Root
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.salvage import Gap
    from artifactfs.repository.witness import Seen

_STEPS: Final[dict[str, Callable[[bytes, str], object]]] = {
    CONDEMNED: lambda data, key: decode_step(data, Condemned, key=key),
    VERDICT: lambda data, key: decode_step(data, Verdict, key=key),
    DONE: lambda data, key: decode_step(data, Done, key=key),
}


class LogAudit:
    """Reads all records again. Belongs to one thread.

    Attributes:
        states: of all collections, as far as their records can be read.
        gaps: collection, and what is not known, by the key of the first of damaged records.
        records: how many records there are.
        has_origins: whether one says where a copy was made.
        strays: keys that nothing of this format has.
        parts: roots of the parts of drafts that have not ended, and what to call them.
    """

    def __init__(self, repository: Repository, *, report: Callable[[str, str], None]) -> None:
        """Store the repository, and what is told of each damaged object: its key, and what is wrong."""
        self._repository = repository
        self._store = repository.store
        self._report = report
        self.states: dict[str, Collection] = {}
        self.gaps: dict[str, tuple[str, Gap]] = {}
        self.records = 0
        self.has_origins = False
        self.strays: list[str] = []
        self.parts: list[tuple[str, Root]] = []

    def check(self) -> None:
        """Check everything."""
        witness = self._repository.witness
        seen = {name: witness.load(name) for name in witness.names()}  # before the logs, which may grow meanwhile
        for name in sorted({*self._store.iter_children(COLLECTIONS_PREFIX), *seen}):
            try:
                check_collection_name(name)
            except InvalidNameError:
                self.strays.append(COLLECTIONS_PREFIX + name)
            else:
                self._check_collection(name, seen.get(name, ()))
        self.strays += check_runs(self._store, report=self._report)
        for key in self._store.iter_keys(PRUNE_PREFIX):
            self._check_step(key)
        parts, strays = check_drafts(self._store, report=self._report)
        self.parts += parts
        self.strays += strays

    def _try(self, key: str, decode: Callable[[bytes], object]) -> bool:
        """Decode an object, and report it if it is damaged; return whether it is not."""
        try:
            decode(self._store.read(key))
        except ArtifactFSError as error:
            self._report(key, error.message)
            return False
        return True

    def _check_collection(self, name: str, seen: Sequence[Seen]) -> None:
        audit = CollectionAudit(self._store, name, report=self._report)
        audit.check(seen)
        self.states[name] = audit.state
        self.gaps |= {key: (name, gap) for key, gap in audit.gaps.items()}
        self.records += audit.records
        self.has_origins |= audit.has_origins
        self.strays += audit.strays

    def _check_step(self, key: str) -> None:
        parts = key.split("/")
        decode = _STEPS.get(parts[2]) if len(parts) == 3 and is_prune_id(parts[1]) else None
        if decode is None:
            self.strays.append(key)
        else:
            self._try(key, lambda data: decode(data, key))
