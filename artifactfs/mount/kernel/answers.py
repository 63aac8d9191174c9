"""From a request in memory to its answer on the device: what workers and the fetcher have in common.

Threading: one thread, whose own the buffers are.
Source: fuse(4); linux/fuse.h; fs/fuse/dev.c.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.away import Away
from artifactfs.errors import ArtifactFSError, IndexCorruptError, ReferenceChangedError
from artifactfs.mount.kernel.codes import Opcode
from artifactfs.mount.kernel.renewal import DamagedError
from artifactfs.mount.kernel.requests import RefusedError
from artifactfs.mount.kernel.structures import IN_HEADER, OUT_HEADER

if TYPE_CHECKING:
    from artifactfs.mount.kernel.buffers import Buffers
    from artifactfs.mount.kernel.requests import Handler

_log = logging.getLogger(__name__)
_pack_reply = OUT_HEADER.packer.pack_into
UNMOUNTED: Final = frozenset({errno.ENODEV, errno.ECONNABORTED})
_EVERYDAY: Final = frozenset({errno.ENOENT, errno.ESTALE, errno.ENODATA})


class Answers:
    """Runs handlers and writes what they leave.

    Threading: one thread.
    """

    def __init__(
        self, descriptor: int, *, buffers: Buffers, handlers: dict[int, Handler], may_renew: bool = False
    ) -> None:
        """Store the device, the memory that requests lie in, and who handles which.

        `may_renew` is whether the process ends by `DamagedError` when the epoch is damaged; else that is EIO.
        """
        self._may_renew = may_renew
        self._descriptor = descriptor
        self._buffers = buffers
        self._handlers = handlers
        self.has_failed = False
        """Whether the last request was answered with an error that was logged; others are everyday answers."""

    def handle(self, opcode: int, node: int, length: int) -> tuple[int, int]:
        """Run the handler of the request in the buffer.

        Args:
            opcode: what is asked.
            node: of what.
            length: bytes of the request with its header; negative when it says another length than it has.

        Returns:
            (payload size, 0) or (0, errno).

        Raises:
            Away: only a process that may wait for the network can answer it.
            DamagedError: nothing can be answered from this epoch any more.
        """
        self.has_failed = length < 0
        if length < 0:
            _log.error("a request says another length than it has; refused")
            return 0, errno.EIO
        handler = self._handlers.get(opcode)
        if handler is None:
            return 0, errno.ENOSYS
        try:
            return handler(node, length - IN_HEADER.size), 0
        except Away:
            raise
        except RefusedError as error:
            return 0, error.errno or errno.EIO
        except (ArtifactFSError, OSError) as error:
            number, self.has_failed = log_failure(error, opcode, node)
            if self._may_renew and isinstance(error, IndexCorruptError):
                raise DamagedError from error
            return 0, number
        except Exception:  # noqa: BLE001 - a bug must not end the process
            _log.exception("%s of node %d failed in an unexpected way", name_opcode(opcode), node)
            self.has_failed = True
            return 0, errno.EIO

    def reply(self, unique: int, size: int, number: int) -> None:
        """Write an answer: `size` bytes of payload that lie in the buffer, or an errno."""
        reply = self._buffers.reply
        total = OUT_HEADER.size + size
        _pack_reply(reply, 0, total, -number, unique)
        try:
            os.write(self._descriptor, reply[:total])
        except OSError as error:
            if error.errno == errno.ENOENT:
                return  # interrupted, or answered before it was sent again
            if error.errno in UNMOUNTED:
                return
            self.has_failed = True
            _log.error("the kernel refuses an answer of %d bytes: %s", total, error)
            if number == 0:
                self.reply(unique, 0, errno.EIO)


def log_failure(error: ArtifactFSError | OSError, opcode: int, node: int) -> tuple[int, bool]:
    """Write a line about a request that failed; return its errno, and whether that is an error for the log."""
    number = error.errno or errno.EIO
    # A name or node that is gone is an everyday answer; anything else is worth a line.
    is_everyday = number in _EVERYDAY and not isinstance(error, ReferenceChangedError)
    level = logging.DEBUG if is_everyday else logging.ERROR
    _log.log(level, "%s of node %d: %s", name_opcode(opcode), node, error)
    return number, not is_everyday


def name_opcode(opcode: int) -> str:
    """Return the name of an operation."""
    try:
        return Opcode(opcode).name
    except ValueError:
        return f"operation {opcode}"


def say_answered(opcode: int, node: int, *, pid: int, result: int, number: int, microseconds: int) -> None:
    """Write the line of `--debug` about a request: what was asked by whom, and the bytes or the errno it got."""
    _log.debug(
        "%s node=%d pid=%d -> %s in %d us",
        *(name_opcode(opcode), node, pid, errno.errorcode.get(number, result), microseconds),
    )
