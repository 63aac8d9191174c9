"""Check of collections: log records, and the checkpoints beside them.

Used by `check_logs`. Threading: a CollectionAudit belongs to one thread.

Source: docs/format.md section 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import checkpoint_prefix, find_seq, log_key, log_prefix
from artifactfs.errors import ArtifactFSError, IntegrityError, MalformedError
from artifactfs.repository.audit import compare_seen
from artifactfs.repository.checkpoint import CHECKPOINT_INTERVAL, decode_checkpoint
from artifactfs.repository.records import Commit, decode_record
from artifactfs.repository.salvage import Salvage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.model import Collection
    from artifactfs.repository.records import Record
    from artifactfs.repository.salvage import Gap
    from artifactfs.repository.witness import Seen


class CollectionAudit:
    """Reads all records and checkpoints of one collection again. Belongs to one thread.

    Args:
        store: of the repository.
        name: the collection's.
        report: is told of each damaged object: its key, and what is wrong.

    Attributes:
        state: of the collection, as far as its records can be read.
        gaps: where they cannot, by the key of the first damaged record.
        records: how many there are.
        has_origins: whether one says where a copy was made.
        strays: keys that nothing of this format has.
    """

    def __init__(self, store: ObjectStore, name: str, *, report: Callable[[str, str], None]) -> None:
        self._store = store
        self._name = name
        self._report = report
        self._digests: dict[int, str] = {}
        self._folded: dict[int, Collection] = {}
        self.gaps: dict[str, Gap] = {}
        self.records = 0
        self.has_origins = False
        self.strays: list[str] = []

    def check(self, seen: Sequence[Seen]) -> None:
        """Check everything, also whether the log is the one that was seen."""
        checkpoints = self._list(checkpoint_prefix(self._name))
        self._fold(checkpoints, seen[-1][0] if seen else 0)
        for problem in compare_seen(self.records, self._digests, seen):
            key = log_key(self._name, problem.seq)
            self._report(key, f"{key} {problem.what}")
        for seq, key in checkpoints.items():
            try:
                self._compare(seq, key)
            except ArtifactFSError as error:
                self._report(key, error.message)

    def _compare(self, seq: int, key: str) -> None:
        state = decode_checkpoint(self._store.read(key), key=key)
        if (state.name, state.seq) != (self._name, seq) or seq % CHECKPOINT_INTERVAL:
            msg = f"{key} is the state of {state.name!r} after record {state.seq}"
            raise MalformedError(msg)
        if seq in self._folded and state != self._folded[seq]:
            msg = f"{key} is not the state that the records before it give"
            raise MalformedError(msg)

    def _fold(self, checkpoints: dict[int, str], seen: int) -> None:
        """Read all records; keep the state after some, and the last. What was seen and is cut off is damaged, too."""
        salvage = Salvage(self._name)
        for seq in range(1, max(self._list(log_prefix(self._name)), default=0) + 1):
            self.records = seq
            self._take_record(salvage, seq)
            if seq in checkpoints and seq in self._digests:
                if salvage.is_sure:
                    self._folded[seq] = salvage.state()
                elif (state := self._read_checkpoint(seq, checkpoints[seq])) is not None:
                    salvage.trust(state)
        for seq in range(self.records + 1, seen + 1):
            salvage.skip(seq)
        self.state = salvage.finish()
        self.gaps = {log_key(self._name, gap.seq): gap for gap in salvage.gaps}

    def _take_record(self, salvage: Salvage, seq: int) -> None:
        key = log_key(self._name, seq)
        try:
            record, digest = self._read_record(key, seq)
        except ArtifactFSError as error:
            self._report(key, error.message)
            salvage.skip(seq)
            return
        self._digests[seq] = digest
        self.has_origins |= isinstance(record.body, Commit) and record.body.origin is not None
        try:
            salvage.take(record, digest=digest)
        except MalformedError as error:
            self._report(key, error.message)

    def _read_record(self, key: str, seq: int) -> tuple[Record, str]:
        record, digest = decode_record(self._store.read(key), key=key)
        if record.collection != self._name:
            msg = f"{key} belongs to the collection {record.collection!r}, not {self._name!r}"
            raise MalformedError(msg)
        if record.seq != seq:
            msg = f"{key} holds record {record.seq}"
            raise MalformedError(msg)
        return record, digest

    def _read_checkpoint(self, seq: int, key: str) -> Collection | None:
        """Return the state after a record whose digest it states; None if it is damaged, or another's."""
        try:
            state = decode_checkpoint(self._store.read(key), key=key)
        except IntegrityError:
            return None
        is_meant = (state.name, state.seq, state.head) == (self._name, seq, self._digests[seq])
        return state if is_meant else None

    def _list(self, prefix: str) -> dict[int, str]:
        found = {}
        strays = []
        for child in self._store.iter_children(prefix):
            seq = find_seq(child)
            if seq:
                found[seq] = prefix + child
            else:
                strays.append(prefix + child)
        self.strays += strays
        return dict(sorted(found.items()))
