"""What the readable records of a damaged log say: the state behind a gap, and what nobody can know of it.

Used by check. Threading: a Salvage belongs to one thread.

Source: docs/format.md section 5.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.errors import MalformedError
from artifactfs.model import Collection
from artifactfs.repository.records import Commit, DeleteCollection, DeleteVersion
from artifactfs.repository.state import Fold

if TYPE_CHECKING:
    from artifactfs.repository.records import Record


@dataclass(slots=True)
class Gap:
    """Damaged records that follow each other.

    Attributes:
        seq: number of the first.
        count: how many there are.
        lost: numbers of live versions that no readable record carries: these ones committed them.
        unsure: numbers of live versions from before, which they may have removed or moved.
    """

    seq: int
    count: int
    lost: tuple[int, ...] = ()
    unsure: tuple[int, ...] = ()


class Salvage:
    """Folds a log, and goes on behind what is damaged. Belongs to one thread.

    Attributes:
        gaps: in order; `finish` says what is lost with them.
    """

    def __init__(self, name: str) -> None:
        self._fold = Fold(Collection(name))
        self._known: Collection | None = None
        self._removed: set[int] = set()
        self._is_in_gap = False
        self.gaps: list[Gap] = []

    @property
    def is_sure(self) -> bool:
        """Whether the state is that of the log, since nothing that it follows from is damaged."""
        return not isinstance(self._fold, _LenientFold)

    def take(self, record: Record, *, digest: str) -> None:
        """Take a readable record of this collection: the next one, or one behind a gap.

        Raises:
            MalformedError: it does not follow what is before it. It counts as damaged, but for what it says itself.
        """
        try:
            self._fold.apply(record, digest=digest)
        except MalformedError:
            self._is_in_gap = False
            self.skip(record.seq)
            self._fold.apply(record, digest=digest)
            raise
        finally:
            self._end_gap(record)

    def skip(self, seq: int) -> None:
        """Pass over a damaged record."""
        if self._is_in_gap:
            self.gaps[-1].count += 1
            return
        state = self._fold.finish()
        self.gaps.append(Gap(seq, 1, unsure=tuple(state.versions)))
        self._fold = _LenientFold(state)
        self._is_in_gap = True

    def trust(self, state: Collection) -> None:
        """Go on from a state that a sealed checkpoint states, and the record of its number agrees with."""
        self._fold = Fold(state)
        self._is_in_gap = False
        for gap in self.gaps:
            gap.lost = gap.unsure = ()

    def state(self) -> Collection:
        """Return the state so far; more may be taken."""
        state = self._fold.finish()
        self._fold = type(self._fold)(state)
        return state

    def finish(self) -> Collection:
        """Return the state in the end, and complete the gaps."""
        state = self._fold.finish()
        for gap in self.gaps:
            gap.lost = tuple(number for number in gap.lost if number not in self._removed)
            gap.unsure = tuple(number for number in gap.unsure if number in state.versions)
        return state

    def _end_gap(self, record: Record) -> None:
        if self.is_sure:
            return
        self._note_removed(record)
        fold = self._fold
        if isinstance(record.body, Commit) and isinstance(fold, _LenientFold) and fold.missed:
            gap = self.gaps[-1]
            gap.lost += fold.take_missed()
            if len(gap.lost) == gap.count:
                gap.unsure = ()  # each of them was a commit
        self._is_in_gap = False

    def _note_removed(self, record: Record) -> None:
        if isinstance(record.body, DeleteVersion):
            self._removed.add(record.body.version)
        elif isinstance(record.body, DeleteCollection):
            self._removed.update(number for gap in self.gaps for number in gap.lost)


class _LenientFold(Fold):
    """Takes what a record says as far as it can be understood without the records that are damaged."""

    def __init__(self, collection: Collection) -> None:
        super().__init__(collection)
        self._is_behind_gap = True
        self.missed: tuple[int, ...] = ()

    def take_missed(self) -> tuple[int, ...]:
        """Return numbers that were due before a commit, once."""
        missed, self.missed = self.missed, ()
        return missed

    def apply(self, record: Record, *, digest: str) -> None:
        """Take a record; what it says of a version that is not known is passed over.

        Raises:
            MalformedError: it does not continue the readable record before it.
        """
        if not self._is_behind_gap:
            super()._check_chain(record)
        self._is_behind_gap = False
        with suppress(MalformedError):
            super().apply(record, digest=digest)
        self._seq, self._head, self._time_ns = record.seq, digest, max(record.time_ns, self._time_ns)

    def _check_chain(self, record: Record) -> None:
        """Return: it was looked at, where what is before it can be read."""

    def _commit(self, record: Record, body: Commit) -> None:
        self.missed += tuple(range(self._next_version, body.version))
        self._next_version, self._type = body.version, body.type
        super()._commit(record, body)
