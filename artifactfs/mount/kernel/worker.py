"""A worker: reads requests from the device, answers them, keeps nothing.

It can be killed at any moment: the kernel hands what it had taken to another worker. It ends when the mount does
(ENODEV), when its supervisor dies, or on SIGTERM between two requests.

Threading: one thread in a process of its own. Source: fuse(4); linux/fuse.h; fs/fuse/dev.c.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError, ReferenceChangedError
from artifactfs.mount.kernel import shared
from artifactfs.mount.kernel.codes import UNIQUE_RESEND, Opcode
from artifactfs.mount.kernel.requests import NO_ANSWER, RefusedError
from artifactfs.mount.kernel.structures import IN_HEADER, OUT_HEADER

if TYPE_CHECKING:
    from artifactfs.mount.kernel.buffers import Buffers
    from artifactfs.mount.kernel.requests import Handler
    from artifactfs.mount.wakeups import Wakeups

_log = logging.getLogger(__name__)
_unpack_header = IN_HEADER.packer.unpack_from
_pack_reply = OUT_HEADER.packer.pack_into
_UNMOUNTED: Final = frozenset({errno.ENODEV, errno.ECONNABORTED})
_AGAIN: Final = frozenset({errno.ENOENT, errno.EINTR, errno.EAGAIN})
"""read(2): the request was interrupted before it was read. Source: libfuse, `fuse_session_receive_buf`."""
_EVERYDAY: Final = frozenset({errno.ENOENT, errno.ESTALE, errno.ENODATA})


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
    ) -> None:
        """Store the device, memory, handlers, this worker's row of the shared counters, and who is told of requests."""
        self._descriptor = descriptor
        self._buffers = buffers
        self._handlers = handlers
        self._row = row
        self._note = wakeups.note
        self._waiting = False
        self._stopping = False
        self._debug = _log.isEnabledFor(logging.DEBUG)

    def request_stop(self, signum: int, frame: object) -> None:  # noqa: ARG002 - a signal handler
        """End after the present request."""
        self._stopping = True
        if self._waiting:
            raise _Stop

    def run(self) -> bool:
        """Answer requests; return True when the mount has ended, False when SIGTERM came."""
        signal.signal(signal.SIGTERM, self.request_stop)
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
            if error.errno in _UNMOUNTED:
                return False
            if error.errno in _AGAIN:
                return True
            raise
        if size == 0:
            return False
        self._answer(size)
        return True

    def _answer(self, size: int) -> None:
        if size < IN_HEADER.size:
            _log.error("a request of %d bytes is shorter than its header; left alone", size)
            return
        length, opcode, unique, node, _, _, pid, _, _ = _unpack_header(self._buffers.request)
        row = self._row
        start = time.monotonic_ns()
        row[shared.OPCODE], row[shared.NODE], row[shared.BUSY_SINCE] = opcode, node, start
        result, number = self._handle(opcode, node, length if length == size else -1)
        if result != NO_ANSWER:
            self._reply(unique, result, number)
        spent = time.monotonic_ns() - start
        row[shared.BUSY_SINCE] = 0
        self._note()
        row[shared.BY_OPCODE + (opcode if opcode < 64 else 0)] += 1
        row[shared.LATENCY + min((spent // 1000).bit_length(), shared.LATENCY_BUCKETS - 1)] += 1
        row[shared.TOTAL_NS] += spent
        if number:
            row[shared.ERRORS] += 1
        elif opcode == Opcode.READ:
            row[shared.BYTES] += result
        if unique & UNIQUE_RESEND:
            row[shared.RESENT] += 1
        if self._debug:
            _log.debug(
                "%s node=%d pid=%d -> %s in %d us", _name(opcode), node, pid,
                errno.errorcode.get(number, result), spent // 1000,
            )  # fmt: skip

    def _handle(self, opcode: int, node: int, length: int) -> tuple[int, int]:
        """Return (payload size, 0) or (0, errno)."""
        if length < 0:
            _log.error("a request says another length than it has; refused")
            return 0, errno.EIO
        handler = self._handlers.get(opcode)
        if handler is None:
            return 0, errno.ENOSYS
        try:
            return handler(node, length - IN_HEADER.size), 0
        except RefusedError as error:
            return 0, error.errno or errno.EIO
        except (ArtifactFSError, OSError) as error:
            number = error.errno or errno.EIO
            # A name or node that is gone is an everyday answer; anything else is worth a line.
            is_everyday = number in _EVERYDAY and not isinstance(error, ReferenceChangedError)
            level = logging.DEBUG if is_everyday else logging.ERROR
            _log.log(level, "%s of node %d: %s", _name(opcode), node, error)
            return 0, number
        except Exception:  # noqa: BLE001 - a bug must not end the worker
            _log.exception("%s of node %d failed in an unexpected way", _name(opcode), node)
            return 0, errno.EIO

    def _reply(self, unique: int, size: int, number: int) -> None:
        reply = self._buffers.reply
        total = OUT_HEADER.size + size
        _pack_reply(reply, 0, total, -number, unique)
        try:
            os.write(self._descriptor, reply[:total])
        except OSError as error:
            if error.errno == errno.ENOENT:
                return  # interrupted, or answered before it was sent again
            if error.errno in _UNMOUNTED:
                return
            _log.error("the kernel refuses an answer of %d bytes: %s", total, error)
            if number == 0:
                self._reply(unique, 0, errno.EIO)


def _name(opcode: int) -> str:
    try:
        return Opcode(opcode).name
    except ValueError:
        return f"operation {opcode}"
