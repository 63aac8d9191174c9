"""Errands: requests that a worker hands to the fetcher, because answering them may take a network.

They go through a pipe, in messages of one size, so that the writes of several workers do not mix and a reader that is
killed leaves none in part. What lies in the pipe when the fetcher dies is read by its successor; what it had taken the
kernel sends again.

Threading: any number of writers; one reader.
Source: pipe(7): writes of up to PIPE_BUF bytes are atomic.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.mount.kernel.structures import IN_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOT: Final = 512
"""Bytes of a message: more than any request with a name, an offset or an attribute in it."""
NO_ANSWER_WANTED: Final = 0
"""In place of `unique`: the errand only tells what a worker read by itself. The kernel never uses this number."""
_PIPE_BYTES: Final = 1 << 20
"""Room for 2048 messages: more than the kernel has under way (`MAX_BACKGROUND`)."""
_BATCH: Final = 64
_UNIQUE_AT: Final = 8
"""Of `unique` in a request's header."""


class ErrandPipe:
    """The pipe. Made by the supervisor, used by its children."""

    def __init__(self) -> None:
        """Make it. Source: F_SETPIPE_SZ in fcntl(2), which an ordinary user may be refused."""
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        with suppress(OSError):
            fcntl.fcntl(self._writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def send(self, request: bytes | memoryview, *, wants_answer: bool = True) -> bool:
        """Hand a request over; return whether that could be done.

        Never waits: when nobody has read for 2048 messages, an error is better than a worker that answers nothing.
        """
        size = len(request)
        if size > SLOT:
            return False
        message = bytearray(SLOT)
        message[:size] = request
        if not wants_answer:
            message[_UNIQUE_AT : _UNIQUE_AT + 8] = bytes(8)
        try:
            return os.write(self._writing, message) == SLOT
        except BlockingIOError:
            return False

    @property
    def reading(self) -> int:
        """Descriptor to wait on."""
        return self._reading

    def receive(self) -> Iterator[bytes]:
        """Yield the requests that are there; waits for the first."""
        data = os.read(self._reading, SLOT * _BATCH)
        for start in range(0, len(data), SLOT):
            length: int = IN_HEADER.packer.unpack_from(data, start)[0]
            yield data[start : start + min(length, SLOT)]

    def close(self) -> None:
        """Close both ends."""
        os.close(self._reading)
        os.close(self._writing)
