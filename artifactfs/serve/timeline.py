"""What happened to all collections: their logs as one time line, of which only what is shown is read.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypedDict, cast

from msgspec import Meta, Struct

from artifactfs.errors import IntegrityError, NotFoundError, UsageError
from artifactfs.paths import check_collection_name
from artifactfs.repository.described import describe_body, record_fields
from artifactfs.repository.query import parse_time
from artifactfs.serve.history import Event
from artifactfs.serve.looks import Damaged
from artifactfs.serve.operations import Limit

if TYPE_CHECKING:
    from artifactfs.model import Collection
    from artifactfs.repository.records import Record
    from artifactfs.serve.context import Context

Place: TypeAlias = tuple[int, str, int]
"""Where a record is in the time line: its time and number, both negative, so that what comes later is greater."""
_BEGINNING: Final[Place] = (-(2**64), "", 0)


class CollectionEvent(Event):
    """A record of a log, and whose."""

    collection: str


class TimeLine(TypedDict):
    """Records, the newest first, and how many there are in all; `older` is what `past` takes for those that follow.

    `damaged` are the collections of which nothing, or nothing older, can be read.
    """

    records: list[CollectionEvent]
    total: int
    older: str | None
    damaged: list[str]


class TimeLineParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the time line."""

    until: Annotated[str, Meta(max_length=64, description="Only what happened before this date or moment.")] = ""
    past: Annotated[str, Meta(max_length=160, description="`NAME/NUMBER` of a record: only what follows it.")] = ""
    limit: Limit = 100


def list_events(context: Context, wanted: TimeLineParameters) -> TimeLine:
    """What happened to all collections, also deleted ones, the newest first."""
    reader = _Reader(context)
    found = context.looks.find_logs()
    logs = [each for each in found if not isinstance(each, Damaged)]
    damaged = {each.name for each in found if isinstance(each, Damaged)}
    bound = _find_bound(reader, wanted)
    heap: list[Place] = []
    for state in logs:
        try:
            place = reader.find_newest(state, bound)
        except IntegrityError:
            damaged.add(state.name)
        else:
            heap += [place] if place else []
    heapq.heapify(heap)
    records: list[Record] = []
    while heap and len(records) < wanted.limit:
        _, name, number = heapq.heappop(heap)
        try:
            records.append(reader.load(name, -number))
            if number < -1:
                heapq.heappush(heap, reader.find_place(name, -number - 1))
        except IntegrityError:
            damaged.add(name)
    return {
        "records": [_describe(record) for record in records],
        "total": sum(state.seq for state in logs),
        "older": f"{records[-1].collection}/{records[-1].seq}" if heap and records else None,
        "damaged": sorted(damaged),
    }


def _find_bound(reader: _Reader, wanted: TimeLineParameters) -> Place:
    """Return the place after which records are wanted."""
    bound = _BEGINNING
    if wanted.until:
        time_ns = parse_time(wanted.until)
        if time_ns is None:
            msg = f"{wanted.until!r} is no date and no moment"
            raise UsageError(msg, hint="such as 2026-01-31 or 2026-01-31T12:00:00Z")
        bound = (-time_ns, "\U0010ffff", 0)
    if wanted.past:
        name, _, number = wanted.past.rpartition("/")
        if not (name and number.isascii() and number.isdigit() and 0 < int(number) < 2**63):
            msg = f"{wanted.past!r} is no NAME/NUMBER of a record"
            raise UsageError(msg)
        bound = max(bound, reader.find_place(check_collection_name(name), int(number)))
    return bound


class _Reader:
    """Reads records for one answer, each once, and remembers their times for others."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._records: dict[tuple[str, int], Record] = {}

    def load(self, name: str, number: int) -> Record:
        """Return a record.

        Raises:
            NotFoundError: there is none.
            IntegrityError: it is damaged.
        """
        found = self._records.get((name, number))
        if found is None:
            found = next(self._context.repository.log.iter_records(name, number), None)
            if found is None:
                msg = f"there is no record {number} of {name}"
                raise NotFoundError(msg, subject=name)
            self._records[name, number] = found
        return found

    def find_place(self, name: str, number: int) -> Place:
        """Return where a record is."""
        time_ns = self._context.times.get((name, number), lambda: self.load(name, number).time_ns)
        return (-time_ns, name, -number)

    def find_newest(self, state: Collection, bound: Place) -> Place | None:
        """Return where the newest record of a log is that follows a place; None when all come before it."""
        newest = (-state.time_ns, state.name, -state.seq)
        if newest > bound:
            return newest
        # Times of a log never fall: those that follow are its first ones.
        numbers = range(1, state.seq)
        last = bisect_left(numbers, True, key=lambda number: self.find_place(state.name, number) <= bound)  # noqa: FBT003
        return self.find_place(state.name, last) if last else None


def _describe(record: Record) -> CollectionEvent:
    fields: dict[str, Any] = {
        "collection": record.collection,
        **record_fields(record),
        "text": describe_body(record.body),
    }
    return cast("CollectionEvent", fields)
