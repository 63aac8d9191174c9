"""Checking a log: whether it is whole, and the one that this machine has seen before.

Used by check and the command line. Threading: functions without state.

Source: docs/format.md section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import checkpoint_key, checkpoint_prefix, find_seq, log_key, log_prefix
from artifactfs.errors import ArtifactFSError, BlobMissingError, DigestMismatchError, IntegrityError, MalformedError
from artifactfs.model import Collection
from artifactfs.repository.checkpoint import decode_checkpoint
from artifactfs.repository.records import decode_record
from artifactfs.repository.state import apply_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.repository.records import Record

SEEN: Final = "this machine has seen"
"""Is in what is wrong with a log that is not the one that was seen."""


@dataclass(frozen=True, slots=True)
class LogProblem:
    """What is wrong with a log at one record.

    Attributes:
        seq: the record's number.
        what: what is wrong, as the rest of a sentence that begins with the record.
    """

    seq: int
    what: str


@dataclass(frozen=True, slots=True)
class LogAudit:
    """What was found out about a log.

    Attributes:
        count: the highest number of a record.
        seen: the highest record that this machine has seen before; 0 when it has seen none.
        problems: in order; empty when the log is whole and the one that was seen.
    """

    count: int
    seen: int
    problems: tuple[LogProblem, ...]


def audit_log(store: ObjectStore, name: str, *, seen: Sequence[tuple[int, str]] = ()) -> LogAudit:
    """Read every record of a log, compare each with the next, with what it says, and with what was seen.

    Args:
        store: of the repository.
        name: the collection's.
        seen: numbers and digests of records that this machine has seen, in order.

    Raises:
        ArtifactFSError: the store cannot be read.
    """
    highest = max((find_seq(child) or 0 for child in store.iter_children(log_prefix(name))), default=0)
    digests: dict[int, str] = {}
    states: dict[int, Collection] = {}
    problems = list(_check_chain(store, name, highest, digests, states))
    problems += compare_seen(highest, digests, seen)
    problems += _check_checkpoints(store, name, states)
    problems.sort(key=lambda problem: problem.seq)
    return LogAudit(highest, seen[-1][0] if seen else 0, tuple(problems))


def _check_chain(
    store: ObjectStore, name: str, highest: int, digests: dict[int, str], states: dict[int, Collection]
) -> Iterator[LogProblem]:
    state: Collection | None = Collection(name)
    for seq in range(1, highest + 1):
        try:
            record, digest = _read_record(store, name, seq)
        except BlobMissingError:
            yield LogProblem(seq, "is missing: it was cut out")
            state = None
            continue
        except DigestMismatchError:
            yield LogProblem(seq, "was altered: it does not hash to its seal")
            state = None
            continue
        except IntegrityError as error:
            yield LogProblem(seq, f"is damaged: {error.message}")
            state = None
            continue
        before = digests.get(seq - 1, "")
        if record.previous != before and (before or seq == 1):
            where = f"the record before it, {seq - 1}, was altered or replaced" if seq > 1 else "it is no first record"
            yield LogProblem(seq, f"does not continue what is there: {where}")
            state = None
        digests[seq] = digest
        if state is not None:
            try:
                state = apply_record(state, record, digest=digest)
                states[seq] = state
            except MalformedError as error:
                yield LogProblem(seq, f"says what cannot be: {error.message}")
                state = None


def _read_record(store: ObjectStore, name: str, seq: int) -> tuple[Record, str]:
    key = log_key(name, seq)
    record, digest = decode_record(store.read(key), key=key)
    if record.seq != seq or record.collection != name:
        msg = f"it is record {record.seq} of {record.collection!r}"
        raise MalformedError(msg, subject=key)
    return record, digest


def compare_seen(highest: int, digests: dict[int, str], seen: Sequence[tuple[int, str]]) -> Iterator[LogProblem]:
    """Yield how a log is not the one that was seen.

    Args:
        highest: the highest number of a record.
        digests: of the records that can be read, by number.
        seen: numbers and digests of records that this machine has seen, in order.
    """
    whole = 0
    for seq, digest in seen:
        if seq > highest:
            yield LogProblem(highest + 1, f"is missing: {SEEN} the log up to {seen[-1][0]}; it was cut")
            return
        if seq in digests and digests[seq] != digest:
            since = f"after record {whole}" if whole else "from the first"
            yield LogProblem(seq, f"is not the one that {SEEN}: the log was replaced {since}")
            return
        if seq in digests:
            whole = seq


def _check_checkpoints(store: ObjectStore, name: str, states: dict[int, Collection]) -> Iterator[LogProblem]:
    for child in store.iter_children(checkpoint_prefix(name)):
        seq = find_seq(child) or 0
        key = checkpoint_key(name, seq)
        try:
            found = decode_checkpoint(store.read(key), key=key)
        except ArtifactFSError as error:
            yield LogProblem(seq, f"has a damaged checkpoint, which is not used: {error.message}")
            continue
        if seq in states and found != states[seq]:
            yield LogProblem(seq, "has a checkpoint that says something else, which must not be used: remove it")
