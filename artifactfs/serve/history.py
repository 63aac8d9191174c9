"""What happened to a collection, and how what is stored grew.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final, TypedDict

from msgspec import Meta, Struct

from artifactfs.clock import format_time_ns
from artifactfs.repository.described import RecordFields, describe_body, record_fields
from artifactfs.repository.growth import Growth
from artifactfs.serve.looks import Damaged
from artifactfs.serve.operations import Limit, Offset

if TYPE_CHECKING:
    from artifactfs.model import Collection
    from artifactfs.serve.context import Context

GROWTH_SECONDS: Final = 1.0


class Event(RecordFields):
    """A record of the log; `text` says what happened."""

    text: str


class History(TypedDict):
    """Records, the newest first, and how many there are in all."""

    collection: str
    records: list[Event]
    total: int
    offset: int


class Point(TypedDict):
    """A version: `size` of all its files, `added` of those that no version before it had."""

    ref: str
    time: str
    size: int
    added: int


class GrowthFields(TypedDict):
    """What was measured so far, in order of time; `left` says how many versions were not. Ask again for more."""

    points: list[Point]
    left: int


class HistoryParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the log of a collection."""

    name: Annotated[str, Meta(min_length=1, max_length=128, description="The name of a collection.")]
    offset: Offset = 0
    limit: Limit = 100


class GrowthParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A collection, or all."""

    collection: Annotated[str, Meta(max_length=128, description="The name of a collection; empty is all.")] = ""


def list_history(context: Context, wanted: HistoryParameters) -> History:
    """The log of a collection, also of a deleted one, the newest record first."""
    state = _load(context, wanted.name)
    last = state.seq - wanted.offset
    first = max(1, last - wanted.limit + 1)
    found = []
    for record in context.repository.log.iter_records(wanted.name, first) if last >= 1 else ():
        if record.seq > last:
            break
        found.append({**record_fields(record), "text": describe_body(record.body)})
    return {
        "collection": state.name,
        "records": found[::-1],  # type: ignore[typeddict-item]
        "total": state.seq,
        "offset": wanted.offset,
    }


def measure_growth(context: Context, wanted: GrowthParameters) -> GrowthFields:
    """What each version added to the store: its own size beside that of the content that is new in it."""
    name = wanted.collection
    if name and not _load(context, name).exists:
        return {"points": [], "left": 0}

    def find() -> list[Collection]:
        if name:
            return [context.repository.get_collection(name)]
        return [each for each in context.looks.find_all() if not isinstance(each, Damaged)]

    growth = context.memo.get(("growth", name), lambda: Growth(context.trees, find))
    end = time.monotonic() + GROWTH_SECONDS
    points, left = growth.measure(lambda: time.monotonic() < end)
    return {
        "points": [
            {"ref": each.ref, "time": format_time_ns(each.time_ns), "size": each.size, "added": each.added}
            for each in points
        ],
        "left": left,
    }


def _load(context: Context, name: str) -> Collection:
    """Return the state of a collection that exists or existed."""
    state = context.repository.load_state(name)
    return state if state.seq else context.repository.get_collection(name)
