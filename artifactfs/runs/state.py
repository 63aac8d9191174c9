"""What a run is, computed from its events: nothing says "running" by itself.

Used by `history`. Threading: pure functions over immutable values.

Source: docs/format.md section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from msgspec import structs

from artifactfs.runs.events import (
    Alive,
    Circumstances,
    Configured,
    Crashed,
    Event,
    Finished,
    Logged,
    Resumed,
    Started,
    Used,
)
from artifactfs.runs.lease import SHORTEST_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactfs.runs.events import Git, Process

Status: TypeAlias = Literal["running", "finished", "failed", "crashed", "lost"]
GIVEN: Final = ("name", "job_type", "project", "notes")
"""Texts that a run is given once, when it begins or later."""
STATUSES: Final = ("running", "finished", "failed", "crashed", "lost")


@dataclass(frozen=True, slots=True)
class RunState:
    """What is known of a run.

    Attributes:
        id: a UUID of version 7.
        state: `running`; `finished` (with 0) or `failed`; `crashed`, when its host saw that the process is gone;
            `lost`, when nothing was heard of it for longer than its lease.
        author: who ran it.
        started_ns: when it began, nanoseconds since 1970 UTC.
        finished_ns: when it ended or was seen to be gone; None while it runs, and when it is lost.
        seen_ns: when it was last heard of.
        exit_code: 0 is success; None unless it ended by itself.
        name: a name for people.
        job_type: what kind of work it is, such as `train`.
        project: what it belongs to.
        notes: free text.
        tags: words.
        config: JSON values by key.
        inputs: versions that it read, each `NAME:vN`, in order of first use; none that it had made itself.
        outputs: versions that it made or found to exist, in order.
        made: those outputs that did not exist before.
        parent: id of the run in a program of which it was started; empty for none.
        children: ids of the runs that its programs have started, in order.
        circumstances: how its last process was started, and where.
        is_marked: whether what `state` says is recorded; False while it was only found out.
    """

    id: str
    state: Status
    author: str
    started_ns: int
    finished_ns: int | None
    seen_ns: int
    exit_code: int | None
    name: str
    job_type: str
    project: str
    notes: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    made: tuple[str, ...]
    parent: str
    children: tuple[str, ...]
    circumstances: Circumstances
    is_marked: bool

    @property
    def git(self) -> Git | None:
        """The working copy that it was started in."""
        return self.circumstances.git

    @property
    def host(self) -> str:
        """The name of the host on which it ran."""
        return self.circumstances.process.host if self.circumstances.process else ""

    @property
    def user(self) -> str:
        """Who ran it, by the system's name."""
        return self.circumstances.process.user if self.circumstances.process else ""

    @property
    def has_ended(self) -> bool:
        """Whether its record is complete: it ended by itself, or was marked as crashed."""
        return self.state in ("finished", "failed", "crashed") and self.is_marked


def fold_events(
    started: Started, events: Sequence[Event], *, now_ns: int, has_ended: Callable[[Process], bool]
) -> RunState:
    """Return what a run is.

    Args:
        started: its first event.
        events: those after it, in order.
        now_ns: the time.
        has_ended: returns whether it is certain that a process has ended.
    """
    last = _last_execution(started, events)
    end = _find_end(events)
    seen_ns = max([started.time_ns, *(event.time_ns for event in events)])
    status, is_marked = _find_status(end, last.circumstances.process, has_ended)
    if status == "running" and now_ns > _find_lease_end(started, events):
        status, is_marked = "lost", False
    circumstances = started.circumstances
    config, tags = dict(started.config), dict.fromkeys(started.tags)
    texts = {name: getattr(started, name) for name in GIVEN}
    for event in events:
        if isinstance(event, Resumed):
            circumstances = event.circumstances
        if isinstance(event, Configured):
            if event.environment:
                circumstances = structs.replace(circumstances, environment=event.environment)
            config |= event.config
            tags |= dict.fromkeys(event.tags)
            texts = {name: text or getattr(event, name) for name, text in texts.items()}
    return RunState(
        id=started.run,
        state=status,
        author=started.author,
        started_ns=started.time_ns,
        finished_ns=end.time_ns if end else seen_ns if status == "crashed" else None,
        seen_ns=seen_ns,
        exit_code=end.exit_code if isinstance(end, Finished) else None,
        **texts,
        tags=tuple(tags),
        config=config,
        inputs=_find_inputs(events),
        outputs=tuple(dict.fromkeys(event.artifact for event in events if isinstance(event, Logged))),
        made=tuple(dict.fromkeys(event.artifact for event in events if isinstance(event, Logged) and event.is_new)),
        parent=started.parent,
        children=tuple(event.child for event in events if isinstance(event, Configured) and event.child),
        circumstances=circumstances,
        is_marked=is_marked,
    )


def _find_inputs(events: Sequence[Event]) -> tuple[str, ...]:
    """Return what was read, in order, without what the run itself had made by then: nothing is made from itself."""
    made: set[str] = set()
    found: dict[str, None] = {}
    for event in events:
        if isinstance(event, Logged) and event.is_new:
            made.add(event.artifact)
        elif isinstance(event, Used) and event.artifact not in made:
            found[event.artifact] = None
    return tuple(found)


def _last_execution(started: Started, events: Sequence[Event]) -> Started | Resumed:
    return next((event for event in reversed(events) if isinstance(event, Resumed)), started)


def _find_end(events: Sequence[Event]) -> Finished | Crashed | None:
    """Return the event that ended a run, unless it went on after that.

    A finished run goes on only when it is resumed: what its children still record does not open it again. One that was
    taken for crashed goes on with whatever it records.
    """
    end: Finished | Crashed | None = None
    for event in events:
        if isinstance(event, (Finished, Crashed)):
            end = event if not isinstance(end, Finished) or isinstance(event, Finished) else end
        elif isinstance(event, Resumed) or isinstance(end, Crashed):
            end = None
    return end


def _find_status(
    end: Finished | Crashed | None, process: Process | None, has_ended: Callable[[Process], bool]
) -> tuple[Status, bool]:
    if isinstance(end, Finished):
        return ("failed" if end.exit_code else "finished"), True
    if end is not None:
        return "crashed", True
    if process is not None and has_ended(process):
        return "crashed", False
    return "running", True


def _find_lease_end(started: Started, events: Sequence[Event]) -> int:
    lease_ns = started.lease_ns or SHORTEST_NS
    end_ns = started.time_ns + lease_ns
    for event in events:
        if isinstance(event, (Resumed, Alive)):
            lease_ns = event.lease_ns or SHORTEST_NS
        end_ns = max(end_ns, event.time_ns + lease_ns)
    return end_ns
