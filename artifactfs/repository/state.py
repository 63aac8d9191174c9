"""From records to the state of a collection: the only meaning that a log has.

Used by `log.py`. Threading: pure functions over immutable values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from artifactfs.errors import MalformedError
from artifactfs.model import DEFAULT_TYPE, Collection, Version
from artifactfs.model import Pin as PinState
from artifactfs.paths import LATEST
from artifactfs.repository.records import (
    Commit,
    DeleteCollection,
    DeleteVersion,
    Edit,
    Pin,
    Record,
    Relocate,
    RemoveAliases,
    SetAliases,
    Unpin,
)

if TYPE_CHECKING:
    from artifactfs.model import Root


def apply_record(collection: Collection, record: Record, *, digest: str) -> Collection:
    """Return the state after a record.

    Args:
        collection: the state before.
        record: the next record.
        digest: its digest, as `decode_record` gives it, which the record after it must state.

    Raises:
        MalformedError: it is not the next record of this collection, or says something impossible.
    """
    fold = Fold(collection)
    fold.apply(record, digest=digest)
    return fold.finish()


class Fold:
    """Applies many records to one state, in time linear in their number. Belongs to one thread."""

    def __init__(self, collection: Collection) -> None:
        self._name = collection.name
        self._seq = collection.seq
        self._head = collection.head
        self._time_ns = collection.time_ns
        self._exists = collection.exists
        self._type = collection.type
        self._next_version = collection.next_version
        self._versions = dict(collection.versions)
        self._deleted = dict(collection.deleted)
        self._aliases = dict(collection.aliases)
        self._pins = dict(collection.pins)

    @property
    def seq(self) -> int:
        """Number of the last record applied."""
        return self._seq

    def finish(self) -> Collection:
        """Return the state; nothing may be applied afterwards."""
        return Collection(
            self._name,
            self._seq,
            self._head,
            self._time_ns,
            self._exists,
            self._type,
            self._next_version,
            self._versions,
            self._deleted,
            self._aliases,
            self._pins,
        )

    def apply(self, record: Record, *, digest: str) -> None:  # noqa: C901 (one case for each kind of record)
        """Take the next record.

        Raises:
            MalformedError: it is not the next one, or says something impossible; the state is then undefined.
        """
        self._check_chain(record)
        match record.body:
            case Commit() as body:
                self._commit(record, body)
            case SetAliases() as body:
                self._get(record, body.version)
                self._aliases.update(dict.fromkeys(body.aliases, body.version))
            case RemoveAliases() as body:
                for alias in body.aliases:
                    self._aliases.pop(alias, None)
            case DeleteVersion() as body:
                self._delete_version(record, body.version)
            case DeleteCollection():
                self._delete_collection(record)
            case Edit() as body:
                self._edit(record, body)
            case Pin() as body:
                self._get_root(record, body.version)
                self._pins[body.pin] = PinState(body.version, body.purpose, record.time_ns, record.author)
            case Unpin() as body:
                self._pins.pop(body.pin, None)
            case Relocate() as body:
                self._relocate(record, body)
        self._seq, self._head, self._time_ns = record.seq, digest, record.time_ns

    def _check_chain(self, record: Record) -> None:
        if record.collection != self._name:
            raise _malformed(record, f"it belongs to the collection {record.collection!r}, not {self._name!r}")
        if record.seq != self._seq + 1:
            raise _malformed(record, f"it has the number {record.seq} where {self._seq + 1} is due")
        if record.previous != self._head:
            raise _malformed(record, "it does not continue the record before it")
        if self._seq and record.time_ns < self._time_ns:
            raise _malformed(record, "it is older than the record before it")

    def _commit(self, record: Record, body: Commit) -> None:
        if body.version != self._next_version:
            raise _malformed(record, f"it commits v{body.version} where v{self._next_version} is due")
        if self._exists and body.type != self._type:
            raise _malformed(record, f"it has the type {body.type!r} in a collection of type {self._type!r}")
        self._exists, self._type, self._next_version = True, body.type, body.version + 1
        self._versions[body.version] = Version(
            number=body.version,
            root=body.root,
            seq=record.seq,
            time_ns=record.time_ns,
            author=record.author,
            message=record.message,
            description=body.description,
            metadata=body.metadata,
            tags=body.tags,
            base=body.base,
            run=record.run,
            inputs=body.inputs,
            expires_ns=body.expires_ns,
            origin=body.origin,
        )
        self._aliases.update(dict.fromkeys(body.aliases, body.version))

    def _delete_version(self, record: Record, number: int) -> None:
        version = self._get(record, number)
        del self._versions[number]
        self._deleted[number] = (record.time_ns, version.root)
        had_latest = self._aliases.get(LATEST) == number
        self._aliases = {alias: target for alias, target in self._aliases.items() if target != number}
        if had_latest and self._versions:
            self._aliases[LATEST] = max(self._versions)

    def _delete_collection(self, record: Record) -> None:
        for number, version in self._versions.items():
            self._deleted[number] = (record.time_ns, version.root)
        self._versions, self._aliases = {}, {}
        self._exists, self._type = False, DEFAULT_TYPE

    def _edit(self, record: Record, body: Edit) -> None:
        version = self._get(record, body.version)
        self._versions[body.version] = replace(
            version, description=body.description, metadata=body.metadata, tags=body.tags
        )

    def _relocate(self, record: Record, body: Relocate) -> None:
        root = replace(self._get_root(record, body.version), placement=body.placement)
        if body.version in self._versions:
            self._versions[body.version] = replace(self._versions[body.version], root=root)
        else:
            self._deleted[body.version] = (self._deleted[body.version][0], root)

    def _get(self, record: Record, number: int) -> Version:
        version = self._versions.get(number)
        if version is None:
            raise _malformed(record, f"there is no v{number} at that point")
        return version

    def _get_root(self, record: Record, number: int) -> Root:
        if number in self._deleted:
            return self._deleted[number][1]
        return self._get(record, number).root


def _malformed(record: Record, why: str) -> MalformedError:
    msg = f"the log of {record.collection!r} is damaged at record {record.seq}: {why}"
    return MalformedError(msg, hint="restore the log from a copy of the repository", subject=record.collection)
