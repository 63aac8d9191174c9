"""Recording what runs do, and reading it again.

Each event is an object of its own, created once; the numbers of a run's events have no gaps. Who records an event
under a number that is taken takes the next, so two processes of one run do not lose each other's events.

Used by the SDK and the command line. Threading: a RunLog may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from artifactfs.blobstore.keys import (
    RESUMED,
    RUNS_PREFIX,
    SEQ_DIGITS,
    find_seq,
    run_environment_key,
    run_files_key,
    run_key,
    run_prefix,
    run_resumed_key,
)
from artifactfs.digest import hash_bytes
from artifactfs.errors import (
    AlreadyExistsError,
    ArtifactFSError,
    BlobMissingError,
    DigestMismatchError,
    MalformedError,
    NotFoundError,
)
from artifactfs.repository.runfiles import LookedUpFile, decode_files, encode_files
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
    decode_event,
    encode_event,
    find_day,
    is_day,
    is_run_id,
    new_run_id,
    run_day,
)
from artifactfs.runs.lease import find_lease_ns
from artifactfs.runs.machine import Environment
from artifactfs.runs.processes import has_ended
from artifactfs.runs.state import RunState as RunState  # noqa: PLC0414 (handed on)
from artifactfs.runs.state import fold_events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.clock import Clock

SHORTEST_PREFIX: Final = 4
_encode = msgspec.json.Encoder(order="sorted").encode


class RunLog:
    """The runs of a repository. May be shared by threads.

    Args:
        store: of the repository.
        clock: the time.
        random: source of ids.
        host: the name of this host, which can see whether its own processes have ended; "" never looks.
    """

    def __init__(self, store: ObjectStore, *, clock: Clock, random: Callable[[int], bytes], host: str = "") -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._host = host
        self._last: dict[str, int] = {}

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
        if parent and self.has_event(parent, 1):  # it may be of another repository
            self._append(Configured(parent, now_ns, {}, child=number), first=2)
        return event

    def resume(self, state: RunState, *, author: str, circumstances: Circumstances | None = None) -> int:
        """Record that a run goes on in this process, and return its lease.

        Who has seen its end looks at it no more, so a note on the day of now says that there is more.
        """
        now_ns = self._clock.now_ns()
        lease_ns = find_lease_ns(now_ns - state.started_ns)
        self._append(Resumed(state.id, now_ns, author, lease_ns, circumstances or Circumstances()), first=2)
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
        self._append(
            Configured(run, self._clock.now_ns(), config, tags=tags, environment=environment, **texts), first=2
        )

    def renew(self, run: str, *, started_ns: int) -> int:
        """Record that a run is alive, and return its new lease."""
        now_ns = self._clock.now_ns()
        lease_ns = find_lease_ns(now_ns - started_ns)
        self._append(Alive(run, now_ns, lease_ns), first=2)
        return lease_ns

    def use(self, run: str, artifact: str) -> None:
        """Record that a run reads a version, `NAME:vN`."""
        self._append(Used(run, self._clock.now_ns(), artifact), first=2)

    def use_late(self, run: str, artifact: str) -> None:
        """Record that a run read a version after it had ended: a process of it goes on. Leaves a note as `resume`."""
        self.use(run, artifact)
        self._note(run, self._clock.now_ns())

    def log(self, run: str, artifact: str, *, is_new: bool) -> None:
        """Record that a run made a version, `NAME:vN`, or found that it exists."""
        self._append(Logged(run, self._clock.now_ns(), artifact, is_new), first=2)

    def log_late(self, run: str, artifact: str) -> None:
        """Record that a run, which may have ended, took part in making a version, and leave a note as `resume` does."""
        self.log(run, artifact, is_new=True)
        self._note(run, self._clock.now_ns())

    def finish(self, run: str, *, exit_code: int) -> None:
        """Record that a run ended."""
        self._append(Finished(run, self._clock.now_ns(), exit_code), first=2)

    def mark_crashed(self, run: str) -> None:
        """Record that a run's process is gone. Only for the host of the process, which can see that."""
        self._append(Crashed(run, self._clock.now_ns()), first=2)

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

    def iter_files(self, run: str) -> Iterator[LookedUpFile]:
        """Yield the files that a run looked up, in order; none when that is not recorded.

        Raises:
            MalformedError, DigestMismatchError: the list is damaged.
        """
        number = 1
        while self._store.find_size(key := run_files_key(run_day(run), run, number)) is not None:
            yield from decode_files(self._store.read(key), key=key)
            number += 1

    def get_environment(self, digest: str) -> Environment:
        """Return the software and hardware that a run states.

        Raises:
            BlobMissingError: it is not in the store.
            DigestMismatchError, MalformedError: it is damaged.
        """
        key = run_environment_key(bytes.fromhex(digest.removeprefix("sha256:")))
        data = self._store.read(key)
        if str(hash_bytes(data)) != digest:
            msg = f"{key} is damaged: it hashes to {hash_bytes(data)}"
            raise DigestMismatchError(msg, hint="restore it from a copy of the repository", subject=key)
        try:
            return msgspec.json.decode(data, type=Environment)
        except msgspec.MsgspecError as error:
            msg = f"{key} does not decode: {error}"
            raise MalformedError(msg, subject=key) from error

    def get_run(self, run: str) -> RunState:
        """Return what is recorded of a run, and what it means now.

        Raises:
            NotFoundError: there is none with this id.
            InvalidNameError: it is not the id of a run.
            MalformedError: an event is damaged.
        """
        return self.fold(run, list(self.iter_events(check_run_id(run))))

    def fold(self, run: str, events: list[Event]) -> RunState:
        """Return what a run is now, given its events.

        Raises:
            NotFoundError: there are none.
            MalformedError: the first is not its start.
        """
        if not events:
            msg = f"there is no run {run}"
            raise NotFoundError(msg, hint="`artifactfs runs` lists what there is", subject=run)
        if not isinstance(events[0], Started):
            msg = f"the first event of the run {run} is not its start"
            raise MalformedError(msg, subject=run)
        return fold_events(events[0], events[1:], now_ns=self._clock.now_ns(), has_ended=self._has_ended)

    def find_run(self, text: str) -> RunState:
        """Return the run that an id, the beginning of one, or a name stands for.

        Raises:
            NotFoundError: there is none, or several: the hint lists their ids.
            MalformedError: an event is damaged.
        """
        ids = [run for run in self.iter_ids() if run.startswith(text)] if len(text) >= SHORTEST_PREFIX else []
        found = ids or [state.id for state in self.iter_runs() if state.name == text]
        if len(found) == 1:
            return self.get_run(found[0])
        if not found:
            msg = f"there is no run {text!r}"
            raise NotFoundError(msg, hint="`artifactfs runs` lists what there is", subject=text)
        msg = f"{len(found)} runs are called {text!r}"
        raise NotFoundError(msg, hint=f"use an id: {', '.join(found[:5])}", subject=text)

    def iter_days(self) -> Iterator[str]:
        """Yield the days on which runs began, each `YYYY-MM-DD`, in any order."""
        yield from (day for day in self._store.iter_children(RUNS_PREFIX) if is_day(day))

    def iter_ids(self, day: str | None = None) -> Iterator[str]:
        """Yield the ids of all runs, or of those of one day, the newest first."""
        for each in [day] if day is not None else sorted(self.iter_days(), reverse=True):
            found = self._store.iter_children(f"{RUNS_PREFIX}{each}/")
            yield from sorted((run for run in found if is_run_id(run)), reverse=True)

    def list_day(self, day: str) -> tuple[list[str], dict[str, str]]:
        """Return the ids of the runs that began on a day, and of those resumed then, by the names of the notes."""
        names = list(self._store.iter_children(f"{RUNS_PREFIX}{day}/"))
        notes = {name: name[len(RESUMED) :].rpartition("-")[0] for name in names if name.startswith(RESUMED)}
        return (
            [name for name in names if is_run_id(name)],
            {name: run for name, run in notes.items() if is_run_id(run)},
        )

    def has_event(self, run: str, number: int) -> bool:
        """Return whether a run has an event of this number."""
        return self._store.find_size(run_key(run_day(run), run, number)) is not None

    def iter_runs(self) -> Iterator[RunState]:
        """Yield all runs, the newest first; damaged ones are left out."""
        for run in self.iter_ids():
            try:
                yield self.get_run(run)
            except ArtifactFSError:
                continue

    def iter_events(self, run: str) -> Iterator[Event]:
        """Yield the events of a run, in order.

        Raises:
            MalformedError: one is damaged.
        """
        prefix, number = run_prefix(run_day(run), run), 0
        while True:
            number += 1
            key = f"{prefix}{number:0{SEQ_DIGITS}}"
            try:
                data = self._store.read(key)
            except BlobMissingError:
                return
            yield decode_event(data, key=key)

    def iter_histories(self, day: str, runs: Collection[str]) -> Iterator[tuple[str, list[Event] | ArtifactFSError]]:
        """Yield runs that began on a day with their events, or with what is wrong with these.

        All of them are listed and read at once, so that a store far away is not asked for one after the other.
        """
        found: dict[str, list[str]] = {}
        for key in self._store.iter_keys(f"{RUNS_PREFIX}{day}/"):
            run, _, name = key.rpartition("/")
            run = run.rpartition("/")[2]
            if run in runs and find_seq(name) is not None:
                found.setdefault(run, []).append(key)
        for keys in found.values():
            keys.sort()
        read = self._store.read_many([key for keys in found.values() for key in keys])
        for run, keys in found.items():
            stored = [next(read) for _ in keys]
            try:
                yield run, _decode_events(keys, stored)
            except ArtifactFSError as error:
                yield run, error

    def settle(self, state: RunState) -> RunState:
        """Record what was found out about a run of this host that crashed; return its state with that."""
        if state.state != "crashed" or state.is_marked:
            return state
        self.mark_crashed(state.id)
        return self.get_run(state.id)

    def _note(self, run: str, now_ns: int) -> None:
        """Say that there is more of a run whose end may have been seen."""
        note = seal(_encode({"run": run, "time_ns": now_ns}))
        number = now_ns
        while not self._store.create(run_resumed_key(find_day(now_ns), run, number), note):
            number += 1

    def _has_ended(self, process: Any) -> bool:
        return bool(self._host) and has_ended(process, host=self._host)

    def _append(self, event: Event, *, first: int) -> None:
        data = encode_event(event)
        # What this process has seen last is a number that exists, so looking on from there leaves no gap.
        number = self._last.get(event.run, first - 1) + 1
        while self._store.find_size(run_key(run_day(event.run), event.run, number)) is not None:
            number += 1
        while not self._store.create(run_key(run_day(event.run), event.run, number), data):
            number += 1
        self._last[event.run] = number


def _decode_events(keys: list[str], stored: list[bytes]) -> list[Event]:
    """Return the events of a run as far as there is no gap."""
    events: list[Event] = []
    for number, (key, data) in enumerate(zip(keys, stored, strict=True), 1):
        if find_seq(key.rpartition("/")[2]) != number:
            break
        events.append(decode_event(data, key=key))
    return events
