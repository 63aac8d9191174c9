"""Reading what is recorded of runs, and finding out what it means now.

Used by `history`, which records. Threading: a RunReader may be shared by threads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

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
)
from artifactfs.digest import hash_bytes
from artifactfs.errors import ArtifactFSError, BlobMissingError, DigestMismatchError, MalformedError, NotFoundError
from artifactfs.repository.runfiles import LookedUpFile, decode_files
from artifactfs.runs.events import Event, Started, check_run_id, decode_event, find_days, is_day, is_run_id, run_day
from artifactfs.runs.machine import Environment
from artifactfs.runs.processes import has_ended, has_restarted
from artifactfs.runs.state import RunState, fold_events

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.clock import Clock
    from artifactfs.runs.events import Process

SHORTEST_PREFIX: Final = 4
_PREFIX: Final = re.compile(r"[0-9a-f-]{1,36}")


class RunReader:
    """The runs of a repository, as they are recorded. May be shared by threads.

    Args:
        store: of the repository.
        clock: the time.
        host: the name of this host, which can see whether its own processes have ended; "" never looks.
    """

    def __init__(self, store: ObjectStore, *, clock: Clock, host: str = "") -> None:
        self._store = store
        self._clock = clock
        self._host = host

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

    def find_run(self, text: str, *, candidates: Iterable[str] | None = None) -> RunState:
        """Return the run that an id, the beginning of one, or a name stands for.

        Args:
            text: which.
            candidates: ids of all runs that may have this name, used only when it is no id; None reads all runs.

        Raises:
            NotFoundError: there is none, or several: the hint lists their ids.
            MalformedError: an event is damaged.
        """
        if is_run_id(text) and self.has_event(text, 1):
            return self.get_run(text)
        found = self._find_ids(text) or [run.id for run in self.iter_runs(candidates) if run.name == text]
        if len(found) == 1:
            return self.get_run(found[0])
        if not found:
            msg = f"there is no run {text!r}"
            raise NotFoundError(msg, hint="`artifactfs runs` lists what there is", subject=text)
        msg = f"{len(found)} runs are called {text!r}"
        raise NotFoundError(msg, hint=f"use an id: {', '.join(found[:5])}", subject=text)

    def _find_ids(self, start: str) -> list[str]:
        """Return the ids that begin so; none when that is too short, or no beginning of an id."""
        if len(start) < SHORTEST_PREFIX or _PREFIX.fullmatch(start) is None:
            return []
        first, last = find_days(start)
        days = sorted((day for day in self.iter_days() if first <= day <= last), reverse=True)
        return [run for day in days for run in self.iter_ids(day) if run.startswith(start)]

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

    def get_event(self, run: str, number: int) -> Event:
        """Return the event of a run that has this number.

        Raises:
            BlobMissingError: there is none.
            MalformedError, DigestMismatchError: it is damaged.
        """
        key = run_key(run_day(run), run, number)
        return decode_event(self._store.read(key), key=key)

    def has_event(self, run: str, number: int) -> bool:
        """Return whether a run has an event of this number."""
        return self._store.find_size(run_key(run_day(run), run, number)) is not None

    def iter_runs(self, ids: Iterable[str] | None = None) -> Iterator[RunState]:
        """Yield all runs, the newest first, or those of some ids; damaged ones are left out."""
        for run in self.iter_ids() if ids is None else ids:
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

    def has_restarted(self, state: RunState) -> bool:
        """Return whether this host, or one of the same name, was started after the process of a run."""
        process = state.circumstances.process
        return bool(self._host) and process is not None and has_restarted(process, host=self._host)

    def find_silence_ns(self, state: RunState) -> int:
        """Return for how long nothing was heard of a run."""
        return self._clock.now_ns() - state.seen_ns

    def _has_ended(self, process: Process) -> bool:
        return bool(self._host) and has_ended(process, host=self._host)


def _decode_events(keys: list[str], stored: list[bytes]) -> list[Event]:
    """Return the events of a run as far as there is no gap."""
    events: list[Event] = []
    for number, (key, data) in enumerate(zip(keys, stored, strict=True), 1):
        if find_seq(key.rpartition("/")[2]) != number:
            break
        events.append(decode_event(data, key=key))
    return events
