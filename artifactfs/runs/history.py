"""Recording what runs do, and reading it again.

Each event is an object of its own, created once; the numbers of a run's events have no gaps. Who records an event
under a number that is taken takes the next, so two processes of one run do not lose each other's events.

Used by the SDK and the command line. Threading: a RunLog may be shared by threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifactfs.blobstore.keys import RUNS_PREFIX, run_key
from artifactfs.errors import ArtifactFSError, BlobMissingError, MalformedError, NotFoundError
from artifactfs.runs.events import (
    Event,
    Finished,
    Logged,
    Started,
    Used,
    check_run_id,
    decode_event,
    encode_event,
    new_run_id,
    run_day,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.clock import Clock


@dataclass(frozen=True, slots=True)
class RunState:
    """What is recorded of a run.

    Attributes:
        id: a UUID of version 7.
        author: who ran it.
        started_ns: when it began, nanoseconds since 1970 UTC.
        finished_ns: when it ended; None while it runs, or when it was killed.
        exit_code: 0 is success; None while it runs.
        name: a name for people.
        job_type: what kind of work it is, such as `train`.
        project: what it belongs to.
        notes: free text.
        tags: words.
        config: JSON values by key.
        inputs: versions that it read, each `NAME:vN`, in order of first use.
        outputs: versions that it made or found to exist, in order.
    """

    id: str
    author: str
    started_ns: int
    finished_ns: int | None
    exit_code: int | None
    name: str
    job_type: str
    project: str
    notes: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class RunLog:
    """The runs of a repository. May be shared by threads."""

    def __init__(self, store: ObjectStore, *, clock: Clock, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._random = random

    def start(
        self,
        *,
        author: str,
        name: str = "",
        job_type: str = "",
        project: str = "",
        notes: str = "",
        tags: tuple[str, ...] = (),
        config: dict[str, Any] | None = None,
    ) -> Started:
        """Record that a run begins, and return that event with the new id.

        Raises:
            UsageError: a value in `config` has no JSON form.
            StorageFullError, ArtifactFSError: it could not be recorded.
        """
        now_ns = self._clock.now_ns()
        run = new_run_id(now_ns, self._random)
        event = Started(run, now_ns, author, name, job_type, project, notes, tags, config or {})
        self._append(event, first=1)
        return event

    def use(self, run: str, artifact: str) -> None:
        """Record that a run reads a version, `NAME:vN`."""
        self._append(Used(run, self._clock.now_ns(), artifact), first=2)

    def log(self, run: str, artifact: str, *, is_new: bool) -> None:
        """Record that a run made a version, `NAME:vN`, or found that it exists."""
        self._append(Logged(run, self._clock.now_ns(), artifact, is_new), first=2)

    def finish(self, run: str, *, exit_code: int) -> None:
        """Record that a run ended."""
        self._append(Finished(run, self._clock.now_ns(), exit_code), first=2)

    def get_run(self, run: str) -> RunState:
        """Return what is recorded of a run.

        Raises:
            NotFoundError: there is none with this id.
            InvalidNameError: it is not the id of a run.
            MalformedError: an event is damaged.
        """
        events = list(self._iter_events(check_run_id(run)))
        if not events:
            msg = f"there is no run {run}"
            raise NotFoundError(msg, subject=run)
        if not isinstance(events[0], Started):
            msg = f"the first event of the run {run} is not its start"
            raise MalformedError(msg, subject=run)
        return _fold(events[0], events[1:])

    def iter_runs(self) -> Iterator[RunState]:
        """Yield all runs, the newest first; damaged ones are left out."""
        for day in sorted(self._store.iter_children(RUNS_PREFIX), reverse=True):
            for run in sorted(self._store.iter_children(f"{RUNS_PREFIX}{day}/"), reverse=True):
                try:
                    yield self.get_run(run)
                except ArtifactFSError:
                    continue

    def _iter_events(self, run: str) -> Iterator[Event]:
        number = 0
        while True:
            number += 1
            key = run_key(run_day(run), run, number)
            try:
                data = self._store.read(key)
            except BlobMissingError:
                return
            yield decode_event(data, key=key)

    def _append(self, event: Event, *, first: int) -> None:
        data = encode_event(event)
        number = first
        while self._store.find_size(run_key(run_day(event.run), event.run, number)) is not None:
            number += 1
        while not self._store.create(run_key(run_day(event.run), event.run, number), data):
            number += 1


def _fold(started: Started, events: list[Event]) -> RunState:
    finished = next((event for event in reversed(events) if isinstance(event, Finished)), None)
    return RunState(
        id=started.run,
        author=started.author,
        started_ns=started.time_ns,
        finished_ns=finished.time_ns if finished else None,
        exit_code=finished.exit_code if finished else None,
        name=started.name,
        job_type=started.job_type,
        project=started.project,
        notes=started.notes,
        tags=started.tags,
        config=started.config,
        inputs=tuple(dict.fromkeys(event.artifact for event in events if isinstance(event, Used))),
        outputs=tuple(dict.fromkeys(event.artifact for event in events if isinstance(event, Logged))),
    )
