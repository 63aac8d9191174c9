"""Recording what runs do; `reading` reads it again.

Each event is an object of its own, created once; the numbers of a run's events have no gaps. Who records an event
under a number that is taken takes the next, so two processes of one run do not lose each other's events.

Used by the SDK and the command line. Threading: a RunLog may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from artifactfs.blobstore.keys import (
    find_seq,
    run_environment_key,
    run_files_key,
    run_key,
    run_prefix,
    run_resumed_key,
)
from artifactfs.digest import hash_bytes
from artifactfs.errors import AlreadyExistsError, ArtifactFSError
from artifactfs.repository.runfiles import LookedUpFile, encode_files
from artifactfs.repository.sealed import seal
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
    check_run_id,
    encode_event,
    find_day,
    find_start_ns,
    new_run_id,
    run_day,
)
from artifactfs.runs.lease import GIVEN_UP_NS, find_lease_ns
from artifactfs.runs.reading import RunReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.clock import Clock
    from artifactfs.runs.machine import Environment
    from artifactfs.runs.state import RunState

FIRST_APPENDED: Final = 2
"""The first event is the start, which whoever begins a run records under its number."""
_encode = msgspec.json.Encoder(order="sorted").encode


class RunLog(RunReader):
    """The runs of a repository. May be shared by threads.

    Args:
        store: of the repository.
        clock: the time.
        random: source of ids.
        host: the name of this host, which can see whether its own processes have ended; "" never looks.
    """

    def __init__(self, store: ObjectStore, *, clock: Clock, random: Callable[[int], bytes], host: str = "") -> None:
        super().__init__(store, clock=clock, host=host)
        self._random = random
        # The number of the last event of each run that this has recorded, and when.
        self._last: dict[str, int] = {}
        self._heard: dict[str, int] = {}

    def start(  # noqa: PLR0913 (what a run is given)
        self,
        *,
        author: str,
        run: str | None = None,
        name: str = "",
        job_type: str = "",
        project: str = "",
        notes: str = "",
        tags: tuple[str, ...] = (),
        config: dict[str, Any] | None = None,
        circumstances: Circumstances | None = None,
        parent: str = "",
    ) -> Started:
        """Record that a run begins, and return that event with the id.

        Args:
            author: who runs it.
            run: the id that it gets; None makes a new one.
            name: for people.
            job_type: what kind of work it is.
            project: what it belongs to.
            notes: free text.
            tags: words.
            config: JSON values by key. Secrets must be masked.
            circumstances: how the process was started. Secrets must be masked.
            parent: id of the run in a program of which it is started.

        Raises:
            AlreadyExistsError: there is a run with this id.
            InvalidNameError: `run` cannot be an id.
            UsageError: a value in `config` has no JSON form.
            StorageFullError, ArtifactFSError: it could not be recorded.
        """
        now_ns = self._clock.now_ns()
        number = new_run_id(now_ns, self._random) if run is None else check_run_id(run)
        event = Started(
            number,
            now_ns,
            author,
            name,
            job_type,
            project,
            notes,
            tags,
            config or {},
            find_lease_ns(0),
            circumstances or Circumstances(),
            parent,
        )
        if not self._store.create(run_key(run_day(number), number, 1), encode_event(event)):
            msg = f"there is a run {number} already"
            raise AlreadyExistsError(msg, hint="resume it, or take another id", subject=number)
        self._last[number], self._heard[number] = 1, now_ns
        if run_day(number) != find_day(now_ns):
            self._note(number, now_ns)  # nobody expects anything new on another day
        if parent and self.has_event(parent, 1):  # it may be of another repository
            self._append(Configured(parent, now_ns, {}, child=number))
        return event

    def resume(self, state: RunState, *, author: str, circumstances: Circumstances | None = None) -> int:
        """Record that a run goes on in this process, and return its lease.

        Who has seen its end looks at it no more, so a note on the day of now says that there is more. Any event leaves
        one that comes after a long silence.
        """
        now_ns = self._clock.now_ns()
        lease_ns = find_lease_ns(now_ns - state.started_ns)
        self._append(Resumed(state.id, now_ns, author, lease_ns, circumstances or Circumstances()))
        self._note(state.id, now_ns)
        return lease_ns

    def configure(
        self, run: str, config: dict[str, Any], *, tags: tuple[str, ...] = (), environment: str = "", **texts: str
    ) -> None:
        """Record more of a run's configuration, or what it was not given when it began. Secrets must be masked.

        Args:
            run: its id.
            config: JSON values by key.
            tags: words.
            environment: digest of the software and hardware that takes the place of what was recorded; "" of none.
            texts: `name`, `job_type`, `project` or `notes` of a run that has none.

        Raises:
            UsageError: a value has no JSON form.
        """
        self._append(Configured(run, self._clock.now_ns(), config, tags=tags, environment=environment, **texts))

    def renew(self, run: str, *, started_ns: int) -> int:
        """Record that a run is alive, and return its new lease."""
        now_ns = self._clock.now_ns()
        lease_ns = find_lease_ns(now_ns - started_ns)
        self._append(Alive(run, now_ns, lease_ns))
        return lease_ns

    def use(self, run: str, artifact: str) -> None:
        """Record that a run reads a version, `NAME:vN`."""
        self._append(Used(run, self._clock.now_ns(), artifact))

    def use_late(self, run: str, artifact: str) -> None:
        """Record that a run read a version after it had ended: a process of it goes on. Leaves a note as `resume`."""
        self.use(run, artifact)
        self._note(run, self._clock.now_ns())

    def log(self, run: str, artifact: str, *, is_new: bool) -> None:
        """Record that a run made a version, `NAME:vN`, or found that it exists."""
        self._append(Logged(run, self._clock.now_ns(), artifact, is_new))

    def log_late(self, run: str, artifact: str) -> None:
        """Record that a run, which may have ended, took part in making a version, and leave a note as `resume` does."""
        self.log(run, artifact, is_new=True)
        self._note(run, self._clock.now_ns())

    def finish(self, run: str, *, exit_code: int, time_ns: int | None = None) -> None:
        """Record that a run ended, now or at an earlier time."""
        now_ns = self._clock.now_ns()
        self._append(Finished(run, now_ns if time_ns is None else time_ns, exit_code))
        if time_ns is not None:
            self._note(run, now_ns)  # it may have been given up since

    def mark_crashed(self, run: str) -> None:
        """Record that a run's process is gone. Only for the host of the process, which can see that."""
        self._append(Crashed(run, self._clock.now_ns()))

    def keep_environment(self, environment: Environment) -> str:
        """Store a description of software and hardware, once, and return its digest as `sha256:<hex>`."""
        data = _encode(environment) + b"\n"
        digest = hash_bytes(data)
        key = run_environment_key(digest.raw)
        if self._store.find_size(key) is None:
            self._store.create(key, data)
        return str(digest)

    def keep_files(self, run: str, files: Iterable[tuple[str, str, int]]) -> None:
        """Store which files a run looked up, in order, at least one: version, path and size of each."""
        data = encode_files(LookedUpFile(artifact, path, size) for artifact, path, size in files)
        number = 1
        while not self._store.create(run_files_key(run_day(run), run, number), data):
            number += 1

    def _note(self, run: str, now_ns: int) -> None:
        """Say that there is more of a run whose end may have been seen."""
        note = seal(_encode({"run": run, "time_ns": now_ns}))
        number = now_ns
        while not self._store.create(run_resumed_key(find_day(now_ns), run, number), note):
            number += 1

    def _append(self, event: Event) -> None:
        data = encode_event(event)
        day, number = run_day(event.run), self._find_next(event.run)
        is_given_up = self._was_silent(event.run, number, event.time_ns)
        while not self._store.create(run_key(day, event.run, number), data):
            number += 1
        self._last[event.run] = number
        self._heard[event.run] = event.time_ns
        if is_given_up:
            self._note(event.run, event.time_ns)

    def _was_silent(self, run: str, number: int, now_ns: int) -> bool:
        """Return whether readers may have given a run up before its event of this number."""
        if now_ns - find_start_ns(run) <= GIVEN_UP_NS // 2:
            return False
        heard_ns = self._heard.get(run)
        if heard_ns is None:
            try:
                heard_ns = self.get_event(run, number - 1).time_ns
            except ArtifactFSError:
                return True
        return now_ns - heard_ns > GIVEN_UP_NS // 2

    def _find_next(self, run: str) -> int:
        """Return a number that no event of a run has yet, and before which none is left out."""
        number = self._last.get(run)
        if number is not None:
            return number + 1  # one that exists is before it
        names = self._store.iter_children(run_prefix(run_day(run), run))
        taken, number = {find_seq(name) for name in names}, FIRST_APPENDED
        while number in taken:
            number += 1
        return number
