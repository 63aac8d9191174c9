"""Events of a run, as values and as bytes.

An event is a JSON object with sorted keys. `event` tells the kinds apart.

Source: docs/format.md section 6; RFC 9562 section 5.7 (UUID version 7). Threading: immutable values, pure functions.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from artifactfs.errors import InvalidNameError, MalformedError, UsageError
from artifactfs.repository.sealed import open_if_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Callable

MILLISECOND_NS: Final = 1_000_000

_LAST_MILLISECOND: Final = 253_402_300_799_999
"""Of the year 9999."""
_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

TimeNs = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Event(Struct, frozen=True, tag_field="event", omit_defaults=True):
    """What all events have in common: the run's id, and when it happened. Unknown fields are ignored."""

    run: str
    time_ns: TimeNs


class Process(Struct, frozen=True, omit_defaults=True):
    """Which process a run is, so that its own host can see that it has ended.

    Attributes:
        host: the host's name.
        user: who runs it, by the system's name.
        pid: its number, in the namespace below.
        start: when it started, in clock ticks since the machine did; with the number it names one process.
        boot: this start of the machine; empty where the system has none, and then nothing can be seen.
        namespace: the namespace in which the number counts; 0 when it is not known.
    """

    host: str
    user: str = ""
    pid: int = 0
    start: int = 0
    boot: str = ""
    namespace: int = 0


class Git(Struct, frozen=True, omit_defaults=True):
    """The state of the working copy that a run was started in.

    Attributes:
        commit: its commit; empty before the first.
        dirty: whether tracked files differed; None when git did not say in time.
        branch: the branch; empty when none is checked out.
        remote: where `origin` is, without user and password.
    """

    commit: str = ""
    dirty: bool | None = None
    branch: str = ""
    remote: str = ""


class Circumstances(Struct, frozen=True, omit_defaults=True):
    """Where and how a process of a run was started. Secrets are masked before this is made.

    Attributes:
        process: the process; None in records of releases that did not keep it.
        command: the command line.
        directory: the working directory.
        git: the working copy in which that lies, if any.
        environment: digest of the description of software and hardware, `sha256:<hex>`; empty when there is none.
        variables: those environment variables that are recorded.
    """

    process: Process | None = None
    command: tuple[str, ...] = ()
    directory: str = ""
    git: Git | None = None
    environment: str = ""
    variables: dict[str, str] = field(default_factory=dict)


class Started(_Event, frozen=True, tag="started"):
    """A run began, perhaps in a program of another, its parent. It is alive for `lease_ns` after each of its events."""

    author: str
    name: str = ""
    job_type: str = ""
    project: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    lease_ns: int = 0
    circumstances: Circumstances = Circumstances()
    parent: str = ""


class Resumed(_Event, frozen=True, tag="resumed"):
    """A run goes on in another process."""

    author: str
    lease_ns: int = 0
    circumstances: Circumstances = Circumstances()


class Configured(_Event, frozen=True, tag="configured"):
    """Configuration values are added to those that there are, or take their place.

    The rest is what a run is given that had none of it: a text counts if the run has none yet, and tags are added.
    `child` is the id of a run that a program of this one has begun; `environment` is as in Circumstances, and takes its
    place.
    """

    config: dict[str, Any]
    name: str = ""
    job_type: str = ""
    project: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()
    child: str = ""
    environment: str = ""


class Alive(_Event, frozen=True, tag="alive"):
    """The run goes on, and is alive for `lease_ns` from now."""

    lease_ns: int


class Used(_Event, frozen=True, tag="used"):
    """The run reads a version, `NAME:vN`."""

    artifact: str


class Logged(_Event, frozen=True, tag="logged"):
    """The run made a version, `NAME:vN`; or found that it exists already, when `is_new` is false."""

    artifact: str
    is_new: bool = True


class Finished(_Event, frozen=True, tag="finished"):
    """The run ended; 0 is success."""

    exit_code: int


class Crashed(_Event, frozen=True, tag="crashed"):
    """The host of the run saw that its process is gone without having finished it."""


Event = Started | Resumed | Configured | Alive | Used | Logged | Finished | Crashed

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    """Return an event as it is stored.

    Raises:
        UsageError: a text in it is not Unicode, or a value has no JSON form.
    """
    try:
        return seal(_encoder.encode(event))
    except (UnicodeEncodeError, msgspec.MsgspecError, OverflowError, TypeError, RecursionError) as error:
        msg = f"the run cannot be recorded: {error}"
        raise UsageError(msg, hint="texts are UTF-8, configuration values JSON") from error


def decode_event(data: bytes, *, key: str = "") -> Event:
    """Return the event that stored bytes are.

    Raises:
        MalformedError: not JSON, or fields missing or of a wrong type.
        DigestMismatchError: it is not what was written.
    """
    try:
        event: Event = _decoder.decode(open_if_sealed(data, key=key))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the run event {key} does not decode: {error}"
        raise MalformedError(msg, hint="a newer release may have written it", subject=key) from error
    return event


def new_run_id(time_ns: int, random: Callable[[int], bytes]) -> str:
    """Return a new UUID of version 7: ids made later are greater, by the millisecond."""
    value = int.from_bytes(random(10), "big")
    high = (time_ns // MILLISECOND_NS & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | value >> 68
    low = 0x8000_0000_0000_0000 | value & 0x3FFF_FFFF_FFFF_FFFF
    digits = f"{high:016x}{low:016x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def check_run_id(text: str) -> str:
    """Return `text`, which may be the id of a run.

    Raises:
        InvalidNameError: it is not a UUID of version 7 in lower case.
    """
    if _RUN_ID.fullmatch(text) is None:
        msg = f"{text!r} cannot be the id of a run"
        raise InvalidNameError(msg, hint="it is a UUID of version 7", subject=text)
    return text


def is_run_id(text: str) -> bool:
    """Return whether a text is the id of a run in form; no version is called like one."""
    return _RUN_ID.fullmatch(text) is not None


def is_day(text: str) -> bool:
    """Return whether a text is a day, `YYYY-MM-DD`, in form."""
    return _DAY.fullmatch(text) is not None


def parse_day(day: str) -> int:
    """Return when a day, `YYYY-MM-DD`, begins in UTC, in nanoseconds; 0 for one that the calendar has not."""
    try:
        return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        return 0


def run_day(run: str) -> str:
    """Return the UTC day on which a run began, `YYYY-MM-DD`, from its id."""
    return find_day(find_start_ns(run))


def find_days(start: str) -> tuple[str, str]:
    """Return the first and the last day, `YYYY-MM-DD`, of runs whose ids begin so."""
    digits = start.replace("-", "")[:12]
    first, last = (min(int(digits.ljust(12, fill), 16), _LAST_MILLISECOND) for fill in "0f")
    return find_day(first * MILLISECOND_NS), find_day(last * MILLISECOND_NS)


def find_start_ns(run: str) -> int:
    """Return when a run began, to the millisecond, from its id."""
    return int(run[:8] + run[9:13], 16) * MILLISECOND_NS


def find_day(time_ns: int) -> str:
    """Return the UTC day of a time, `YYYY-MM-DD`."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, tz=UTC):%Y-%m-%d}"
