"""The log of a collection: an ordered sequence of records that decides everything.

A record is created at the next number, unless there is one already; whoever loses that race reads what the
other wrote and runs his change again on the new state. So records are totally ordered without any lock, on
a disk as on an object store.

Used by the repository. Threading: a Log may be shared by threads and by processes, each with its own.

Source: docs/format.md; docs/design/store.md, "The log decides".
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import checkpoint_key, checkpoint_prefix, find_seq, log_key, log_prefix
from artifactfs.errors import ArtifactFSError, BlobMissingError, IntegrityError, MalformedError
from artifactfs.model import Collection
from artifactfs.paths import check_collection_name
from artifactfs.repository.checkpoint import CHECKPOINT_INTERVAL, decode_checkpoint, encode_checkpoint
from artifactfs.repository.records import CHANGE_ID_SIZE, Body, Record, decode_record, encode_record
from artifactfs.repository.state import Fold, apply_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.clock import Clock

CREATE_ATTEMPTS: Final = 3
"""How often the same record is offered to a store whose answers do not come."""


class Log:
    """The logs of all collections of a store. May be shared by threads."""

    def __init__(self, store: ObjectStore, *, clock: Clock, author: str, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._author = author
        self._random = random

    def load(self, name: str, known: Collection | None = None) -> Collection:
        """Return the present state of a collection; one without any record is `Collection(name)`.

        Args:
            name: the collection's.
            known: a state that was loaded before, from which only newer records are read. It is used only
                if its last record is still the same.

        Raises:
            InvalidNameError: no collection can have this name.
            MalformedError, DigestMismatchError: a record is damaged or missing; the error names it.
        """
        check_collection_name(name)
        if known is not None and self._is_current(known):
            return self._advance(known)
        return self._load_all(name)

    def advance(self, known: Collection) -> Collection:
        """Return the present state of a collection whose state `known` was compared with the log before."""
        return self._advance(known)

    def append(
        self,
        name: str,
        change: Callable[[Collection], Body],
        *,
        message: str = "",
        run: str | None = None,
        known: Collection | None = None,
        change_id: str | None = None,
    ) -> tuple[Collection, Record]:
        """Record a change durably, and return the state after it and the record.

        Args:
            name: the collection's; it need not exist.
            change: says what to record, given the present state. It is run again, on the newer state, each
                time another writer was faster, so it must depend on nothing else. What it raises ends this
                call, with nothing recorded.
            message: the log message.
            run: id of the run that makes the change.
            known: a state that was loaded before.
            change_id: what the record's is to be, 32 hex digits; None makes one. Other writers may try the same change
                at the same time: `change` must then find out whether one of them was faster.

        Raises:
            StorageFullError: there is no room; nothing was recorded, or it cannot be made durable.
            RemoteError: the store does not answer; the change was not recorded as far as can be seen.
            MalformedError, DigestMismatchError: the log is damaged; nothing was recorded.
        """
        change_id = change_id or self._random(CHANGE_ID_SIZE).hex()
        state = self.load(name, known)
        while True:
            record = Record(
                collection=name,
                seq=state.seq + 1,
                previous=state.head,
                change=change_id,
                time_ns=max(self._clock.now_ns(), state.time_ns) if state.seq else self._clock.now_ns(),
                author=self._author,
                body=change(state),
                message=message,
                run=run,
            )
            data, digest = encode_record(record)
            after = apply_record(state, record, digest=digest)
            if self._create(record, data, digest):
                self._write_checkpoint(after)
                return after, record
            state = self.load(name, state)

    def read_state(self, name: str) -> Collection:
        """Return the present state of a collection from its records alone; no cache is believed.

        Raises:
            InvalidNameError, MalformedError, DigestMismatchError: see `load`.
        """
        check_collection_name(name)
        return self._load_from(name, Collection(name), self._find_highest(name))

    def iter_records(self, name: str, start: int = 1) -> Iterator[Record]:
        """Yield the records of a collection from number `start` on.

        Raises:
            MalformedError, DigestMismatchError: a record is damaged; the error names it.
        """
        seq = start
        while (found := self._find_record(name, seq)) is not None:
            yield found[0]
            seq += 1

    def find_digest(self, name: str, seq: int) -> str | None:
        """Return the digest of a record as `sha256:<hex>`; None when there is none, or it is damaged."""
        try:
            found = self._find_record(name, seq)
        except IntegrityError:
            return None
        return found[1] if found else None

    def _create(self, record: Record, data: bytes, digest: str) -> bool:
        """Create a record and return True; return False when another writer took its number.

        An error says nothing about what was stored, nor does "it exists", since clients of object stores
        retry by themselves. What lies under the number does: the digest, which the change id makes unlike all
        others, tells whose it is.
        """
        key = log_key(record.collection, record.seq)
        for attempt in range(1, CREATE_ATTEMPTS + 1):
            try:
                if self._store.create(key, data):
                    return True
            except ArtifactFSError as error:
                found = self._find_record(record.collection, record.seq)
                if found is not None and found[1] != digest:
                    return False
                # Ours is there but perhaps not durable, or nothing is and it may still come: offering the
                # same bytes again is harmless.
                if attempt == CREATE_ATTEMPTS or not (found or error.retryable):
                    raise
            else:
                found = self._find_record(record.collection, record.seq)
                return found is not None and found[1] == digest
        raise AssertionError  # the last attempt returns or raises

    def _load_all(self, name: str) -> Collection:
        highest = self._find_highest(name)
        start = self._find_checkpoint(name) if highest >= CHECKPOINT_INTERVAL else None
        return self._load_from(name, start or Collection(name), highest)

    def _find_highest(self, name: str) -> int:
        return max((find_seq(child) or 0 for child in self._store.iter_children(log_prefix(name))), default=0)

    def _load_from(self, name: str, start: Collection, highest: int) -> Collection:
        # The one after the last is asked for with them: then nothing more has to be asked, unless it is there.
        state = self._fold_listed(start, highest + 1)
        if state.seq > highest:
            state = self._advance(state)
        if state.seq < highest:
            key = log_key(name, state.seq + 1)
            msg = f"the log of {name!r} is damaged: {key} is missing"
            raise MalformedError(msg, hint="restore it from a copy of the repository", subject=key)
        return state

    def _fold_listed(self, state: Collection, highest: int) -> Collection:
        """Fold the records up to one that was listed, read many at once."""
        fold = Fold(state)
        keys = [log_key(state.name, seq) for seq in range(state.seq + 1, highest + 1)]
        with suppress(BlobMissingError):  # the caller sees how far it came
            for key, data in zip(keys, self._store.read_many(keys), strict=True):
                record, digest = self._decode(data, key=key, name=state.name, seq=fold.seq + 1)
                fold.apply(record, digest=digest)
        return fold.finish()

    def _advance(self, state: Collection) -> Collection:
        fold: Fold | None = None
        seq = state.seq + 1
        while (found := self._find_record(state.name, seq)) is not None:
            fold = fold or Fold(state)
            fold.apply(found[0], digest=found[1])
            seq += 1
        return fold.finish() if fold else state

    def _is_current(self, known: Collection) -> bool:
        if not known.seq:
            return True
        found = self._find_record(known.name, known.seq)
        return found is not None and found[1] == known.head

    def _find_record(self, name: str, seq: int) -> tuple[Record, str] | None:
        key = log_key(name, seq)
        try:
            data = self._store.read(key)
        except BlobMissingError:
            return None
        return self._decode(data, key=key, name=name, seq=seq)

    @staticmethod
    def _decode(data: bytes, *, key: str, name: str, seq: int) -> tuple[Record, str]:
        record, digest = decode_record(data, key=key)
        if record.seq != seq or record.collection != name:
            msg = f"the log is damaged: {key} holds record {record.seq} of {record.collection!r}"
            raise MalformedError(msg, hint="restore it from a copy of the repository", subject=key)
        return record, digest

    def _find_checkpoint(self, name: str) -> Collection | None:
        found = [find_seq(child) or 0 for child in self._store.iter_children(checkpoint_prefix(name))]
        for seq in sorted(found, reverse=True):
            key = checkpoint_key(name, seq)
            try:
                state = decode_checkpoint(self._store.read(key), key=key)
                if (state.name, state.seq) == (name, seq) and self._is_current(state):
                    return state
            except IntegrityError:
                continue  # only a cache; a damaged record is named when the log is read
        return None

    def _write_checkpoint(self, state: Collection) -> None:
        if state.seq % CHECKPOINT_INTERVAL:
            return
        with suppress(ArtifactFSError):  # the record is made; a checkpoint only saves time
            self._store.create(checkpoint_key(state.name, state.seq), encode_checkpoint(state))
