"""The fetcher: answers what workers cannot without a network, and nothing else.

One thread takes errands and decides who does them. Reads of one chunk of one file are done by one thread, one after
the other: the first fetches, the others find it. Each place that content comes from has threads of its own (`lanes`),
so a server that stalls holds up those alone who want something of it. A reader that gives up (INTERRUPT) is answered
at once, whatever the thread that serves it is waiting for; what it fetches is kept for the next.

It can be killed at any moment: the kernel sends again what it had taken, and whole chunks are in the cache.

Threading: see above. Everything is opened in this process, after the fork, when the first errand comes.
Source: fuse documentation, "Interrupting filesystem operations".
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
from collections import OrderedDict, deque
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import ArtifactFSError
from artifactfs.mount.failures import Failures
from artifactfs.mount.kernel import shared
from artifactfs.mount.kernel.answers import Answers, log_failure, name_opcode, say_answered
from artifactfs.mount.kernel.backings import Passthrough
from artifactfs.mount.kernel.buffers import Buffers
from artifactfs.mount.kernel.codes import UNIQUE_RESEND, Opcode
from artifactfs.mount.kernel.contents import Contents
from artifactfs.mount.kernel.errands import NO_ANSWER_WANTED
from artifactfs.mount.kernel.lanes import Lane
from artifactfs.mount.kernel.renewal import DAMAGED, DamagedError
from artifactfs.mount.kernel.requests import BODY, NO_ANSWER, Requests
from artifactfs.mount.kernel.structures import IN_HEADER, INTERRUPT_IN, READ_IN

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.kernel.errands import ErrandPipe
    from artifactfs.mount.kernel.serving import Mounted
    from artifactfs.mount.kernel.source import FetchingSource, Sources

_log = logging.getLogger(__name__)
LANE_THREADS: Final = 16
PATIENCE_SECONDS: Final = 120.0
"""A request that no thread has begun with after so long is answered with ETIMEDOUT. One that is under way ends by the
deadlines of what it waits for."""
_LOOK_SECONDS: Final = 1.0
_GIVEN_UP: Final = 4096
"""Interrupts that are remembered, because they can be read before the request that they are for."""


@dataclass(eq=False)
class _Errand:
    """A request under way."""

    message: bytes
    opcode: int
    unique: int
    node: int
    came: float
    is_begun: bool = False
    is_answered: bool = False


@dataclass(eq=False)
class _Group:
    """Requests that are served one after the other."""

    key: tuple[int, ...]
    waiting: deque[_Errand] = field(default_factory=deque)


class _Tools:
    """What a thread answers with. Belongs to it."""

    def __init__(self, mounted: Mounted, source: FetchingSource) -> None:
        device = mounted.device
        self.source = source
        self.buffers = Buffers(mounted.agreed.max_read)
        self.contents = Contents(source)
        handlers = Requests(source, buffers=self.buffers, contents=self.contents).handlers()
        if mounted.settings.passthrough:
            found = Passthrough(device, source, buffers=self.buffers, table=mounted.backings)
            handlers.update(found.handlers())
        self.answers = Answers(device, buffers=self.buffers, handlers=handlers, may_renew=mounted.may_renew)

    def close(self) -> None:
        self.contents.close()
        self.source.close()


class Fetcher:
    """The loop of the thread that takes errands, and the work of the others.

    Threading: `run` in one thread.
    """

    def __init__(self, mounted: Mounted, errands: ErrandPipe, *, row: memoryview) -> None:
        """Store the mount, where errands come from, and this process's row of the shared counters."""
        self._mounted = mounted
        self._errands = errands
        self._row = row
        self._guard = threading.Lock()
        self._opening = threading.Lock()
        self._sources: Sources | None = None
        self._origins: FetchingSource | None = None
        self._under_way: dict[int, _Errand] = {}
        self._groups: dict[tuple[int, ...], _Group] = {}
        self._lanes: dict[str, Lane[_Group]] = {}
        self._given_up: OrderedDict[int, None] = OrderedDict()
        self._failures = Failures()
        self._refusals = Answers(mounted.device, buffers=Buffers(0), handlers={})

    def run(self) -> None:
        """Take errands for ever."""
        poll = select.poll()
        poll.register(self._errands.reading, select.POLLIN)
        while True:
            if poll.poll(_LOOK_SECONDS * 1000 if self._under_way else None):
                for message in self._errands.receive():
                    self._take(message)
            self._give_up_old()

    # Taking

    def _take(self, message: bytes) -> None:
        _, opcode, unique, node, *_ = IN_HEADER.packer.unpack_from(message)
        if opcode == Opcode.INTERRUPT:
            self._interrupt(INTERRUPT_IN.packer.unpack_from(message, BODY)[0])
            return
        errand = _Errand(message, opcode, unique, node, time.monotonic())
        with self._guard:
            if unique != NO_ANSWER_WANTED:
                if unique in self._under_way:
                    return  # sent again while it lay in the pipe
                self._under_way[unique] = errand
                self._tell_waiting()
                is_given_up = _base(unique) in self._given_up
            else:
                is_given_up = False
            key = _find_key(errand)
            group = self._groups.get(key)
            if group is not None:
                group.waiting.append(errand)
        if is_given_up:
            self._refuse(errand, errno.EINTR)
        if group is None:
            group = _Group(key, deque([errand]))
            with self._guard:
                self._groups[key] = group
            self._find_lane(errand).put(group)

    def _find_lane(self, errand: _Errand) -> Lane[_Group]:
        """Return the lane of an errand. Names wait for no content, also of the same place."""
        try:
            if self._origins is None:
                self._origins = self._open().make()
            name = self._origins.find_origin(errand.node)
        except (ArtifactFSError, OSError):
            name = ""  # whoever serves it is told why
        name = f"{'content' if errand.opcode == Opcode.READ else 'names'} {name}"
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, limit=LANE_THREADS, serve=self._serve)
        return lane

    def _open(self) -> Sources:
        with self._opening:
            if self._sources is None:
                self._sources = self._mounted.settings.source.open_sources()
            return self._sources

    # Giving up

    def _interrupt(self, unique: int) -> None:
        with self._guard:
            self._given_up[_base(unique)] = None
            if len(self._given_up) > _GIVEN_UP:
                self._given_up.popitem(last=False)
            found = [errand for errand in self._under_way.values() if _base(errand.unique) == _base(unique)]
        for errand in found:
            self._refuse(errand, errno.EINTR)

    def _give_up_old(self) -> None:
        limit = time.monotonic() - PATIENCE_SECONDS
        with self._guard:
            old = [errand for errand in self._under_way.values() if not errand.is_begun and errand.came < limit]
        for errand in old:
            _log.error("%s of node %d: nothing came in time", name_opcode(errand.opcode), errand.node)
            self._refuse(errand, errno.ETIMEDOUT, is_logged=True)

    def _refuse(self, errand: _Errand, number: int, *, is_logged: bool = False) -> None:
        if self._claim(errand):
            self._refusals.reply(errand.unique, 0, number)
            self._count(errand, 0, number, is_error=is_logged)

    def _claim(self, errand: _Errand) -> bool:
        """Return whether the caller is the one that answers a request."""
        with self._guard:
            is_first = not errand.is_answered and errand.unique != NO_ANSWER_WANTED
            errand.is_answered = True
            if self._under_way.get(errand.unique) is errand:
                del self._under_way[errand.unique]
                self._tell_waiting()
            return is_first

    def _tell_waiting(self) -> None:
        """Put into the shared row what waits. The caller holds the guard."""
        row = self._row
        row[shared.WAITING] = len(self._under_way)
        place = shared.FETCHES
        for errand in islice(self._under_way.values(), shared.FETCHES_SHOWN):
            row[place], row[place + 1], row[place + 2] = errand.opcode, errand.node, _find_offset(errand)
            place += shared.FETCH_WORDS
        if len(self._under_way) < shared.FETCHES_SHOWN:
            row[place] = 0

    # Serving, in the threads of lanes

    def _serve(self, take: Callable[[], _Group | None]) -> None:
        tools: _Tools | None = None
        while (group := take()) is not None:
            while (errand := self._next(group)) is not None:
                try:
                    tools = tools or _Tools(self._mounted, self._open().make())
                    self._answer(tools, errand)
                except DamagedError:
                    os._exit(DAMAGED)  # from any thread; the kernel sends again what was taken
                except (ArtifactFSError, OSError) as error:
                    number, is_logged = log_failure(error, errand.opcode, errand.node)
                    self._refuse(errand, number, is_logged=is_logged)
                except Exception:  # noqa: BLE001 - a bug must not end the thread, or others of the group wait for ever
                    _log.exception("%s of node %d failed in an unexpected way", name_opcode(errand.opcode), errand.node)
                    self._refuse(errand, errno.EIO, is_logged=True)
        if tools is not None:
            with closing(tools):
                pass

    def _next(self, group: _Group) -> _Errand | None:
        with self._guard:
            while group.waiting:
                errand = group.waiting.popleft()
                if not errand.is_answered:
                    errand.is_begun = True
                    return errand
            del self._groups[group.key]
            return None

    def _answer(self, tools: _Tools, errand: _Errand) -> None:
        if errand.unique == NO_ANSWER_WANTED:
            _note_read(tools, errand)
            return
        key = _find_key(errand)
        result, number, is_error = 0, self._failures.find(key), False
        if not number:
            size, begun = len(errand.message), time.monotonic()
            tools.buffers.request[:size] = errand.message
            result, number = tools.answers.handle(errand.opcode, errand.node, size)
            is_error = tools.answers.has_failed
            if number and errand.opcode == Opcode.READ:
                self._failures.note(key, number, begun=begun)
        if self._claim(errand) and result != NO_ANSWER:
            tools.answers.reply(errand.unique, result, number)
            self._count(errand, result, number, is_error=is_error)

    def _count(self, errand: _Errand, result: int, number: int, *, is_error: bool) -> None:
        spent = int((time.monotonic() - errand.came) * 1e9)
        row, opcode = self._row, errand.opcode
        with self._guard:
            row[shared.BY_OPCODE + (opcode if opcode < 64 else 0)] += 1
            row[shared.LATENCY + min((spent // 1000).bit_length(), shared.LATENCY_BUCKETS - 1)] += 1
            row[shared.TOTAL_NS] += spent
            row[shared.ERRORS] += is_error
            row[shared.BYTES] += result if opcode == Opcode.READ else 0
            row[shared.RESENT] += 1 if errand.unique & UNIQUE_RESEND else 0
        pid = IN_HEADER.packer.unpack_from(errand.message)[6]
        say_answered(opcode, errand.node, pid=pid, result=result, number=number, microseconds=spent // 1000)


def _base(unique: int) -> int:
    return unique & ~UNIQUE_RESEND


def _find_key(errand: _Errand) -> tuple[int, ...]:
    """Return what tells requests that are served one after the other from others."""
    if errand.opcode == Opcode.READ:
        return (errand.node, _find_offset(errand) // CHUNK_SIZE)
    return (errand.node, errand.opcode, errand.unique)


def _find_offset(errand: _Errand) -> int:
    if errand.opcode != Opcode.READ:
        return 0
    offset: int = READ_IN.packer.unpack_from(errand.message, BODY)[1]
    return offset


def _note_read(tools: _Tools, errand: _Errand) -> None:
    try:
        tools.source.note_read(errand.node, READ_IN.packer.unpack_from(errand.message, BODY)[1])
    except (ArtifactFSError, OSError) as error:
        _log.debug("node %d: nothing is fetched ahead: %s", errand.node, error)
