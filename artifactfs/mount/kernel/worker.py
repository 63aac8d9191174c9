"""A worker: reads requests from the device, answers them, keeps nothing.

It can be killed at any moment: the kernel hands what it had taken to another worker. It ends when the mount does
(ENODEV), when its supervisor dies, or on SIGTERM between two requests. It never waits for a network: what is not on
this machine is an errand for the fetcher, which answers it.

Threading: one thread in a process of its own. Source: fuse(4); linux/fuse.h; fs/fuse/dev.c.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.away import Away
from artifactfs.mount.kernel import shared
from artifactfs.mount.kernel.answers import UNMOUNTED, Answers, name_opcode, say_answered
from artifactfs.mount.kernel.codes import UNIQUE_RESEND, Opcode
from artifactfs.mount.kernel.requests import NO_ANSWER
from artifactfs.mount.kernel.structures import IN_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.kernel.buffers import Buffers
    from artifactfs.mount.kernel.errands import ErrandPipe
    from artifactfs.mount.kernel.requests import Handler
    from artifactfs.mount.wakeups import Wakeups

_log = logging.getLogger(__name__)
_unpack_header = IN_HEADER.packer.unpack_from
_AGAIN: Final = frozenset({errno.ENOENT, errno.EINTR, errno.EAGAIN})
"""read(2): the request was interrupted before it was read. Source: libfuse, `fuse_session_receive_buf`."""


LOOK_SECONDS: Final = 30.0
"""How often what is idle is closed."""


class _Stop(Exception):  # noqa: N818 - a way out of read(2), not an error
    """SIGTERM came while waiting."""


class Worker:
    """The loop.

    Threading: one thread; `request_stop` is called by a signal handler of that thread.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        buffers: Buffers,
        handlers: dict[int, Handler],
        row: memoryview,
        wakeups: Wakeups,
        errands: ErrandPipe | None = None,
        may_renew: bool = False,
        close_idle: Callable[[], None] = lambda: None,
    ) -> None:
        """Store the device, memory, handlers, this worker's row of the shared counters, and who is told of requests.

        `errands` is where to hand what needs a network; None when nothing does. `close_idle` is called now and then,
        between requests. With `may_renew` a damaged epoch ends
        `run` by `DamagedError`, and the request is left for the next worker.
        """
        self._descriptor = descriptor
        self._buffers = buffers
        self._answers = Answers(descriptor, buffers=buffers, handlers=handlers, may_renew=may_renew)
        self._errands = errands
        self._row = row
        self._note = wakeups.note
        self._waiting = False
        self._stopping = False
        self._close_idle = close_idle
        self._is_due = False
        self._debug = _log.isEnabledFor(logging.DEBUG)

    def request_stop(self, signum: int, frame: object) -> None:  # noqa: ARG002 - a signal handler
        """End after the present request."""
        self._stopping = True
        if self._waiting:
            raise _Stop

    def request_look(self, signum: int, frame: object) -> None:  # noqa: ARG002 - a signal handler
        """Close what is idle, after the present request if there is one. read(2) is gone on with by Python."""
        self._is_due = not self._waiting
        if self._waiting:
            self._close_idle()

    def run(self) -> bool:
        """Answer requests; return True when the mount has ended, False when SIGTERM came."""
        signal.signal(signal.SIGTERM, self.request_stop)
        signal.signal(signal.SIGALRM, self.request_look)
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
        try:
            while not self._stopping:
                if not self._serve_one():
                    return True
        except _Stop:
            _log.debug("worker stops")
        return False

    def _serve_one(self) -> bool:
        """Answer one request; return False when the mount has ended."""
        try:
            self._waiting = True
            size = os.readv(self._descriptor, [self._buffers.request])
            self._waiting = False
        except OSError as error:
            self._waiting = False
            if error.errno in UNMOUNTED:
                return False
            if error.errno in _AGAIN:
                return True
            raise
        if size == 0:
            return False
        self._answer(size)
        if self._is_due:
            self._is_due = False
            self._close_idle()
        return True

    def _answer(self, size: int) -> None:
        if size < IN_HEADER.size:
            _log.error("a request of %d bytes is shorter than its header; left alone", size)
            return
        length, opcode, unique, node, _, _, pid, _, _ = _unpack_header(self._buffers.request)
        row = self._row
        start = time.monotonic_ns()
        row[shared.OPCODE], row[shared.NODE], row[shared.BUSY_SINCE] = opcode, node, start
        answers, is_lost = self._answers, False
        try:
            result, number = answers.handle(opcode, node, length if length == size else -1)
        except Away:
            handed = self._hand_over(size)
            if handed:
                row[shared.BUSY_SINCE] = 0
                return
            _log.error("%s of node %d: the fetcher takes no more errands", name_opcode(opcode), node)
            result, number, is_lost = 0, errno.ETIMEDOUT, True
        if result != NO_ANSWER:
            answers.reply(unique, result, number)
        spent = time.monotonic_ns() - start
        row[shared.BUSY_SINCE] = 0
        self._note()
        row[shared.BY_OPCODE + (opcode if opcode < 64 else 0)] += 1
        row[shared.LATENCY + min((spent // 1000).bit_length(), shared.LATENCY_BUCKETS - 1)] += 1
        row[shared.TOTAL_NS] += spent
        if answers.has_failed or is_lost:
            row[shared.ERRORS] += 1
        elif opcode == Opcode.READ:
            row[shared.BYTES] += result
        if unique & UNIQUE_RESEND:
            row[shared.RESENT] += 1
        if self._debug:
            say_answered(opcode, node, pid=pid, result=result, number=number, microseconds=spent // 1000)

    def _hand_over(self, size: int) -> bool:
        return self._errands is not None and self._errands.send(self._buffers.request[:size])
