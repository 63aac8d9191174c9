"""The memory that requests and answers pass through: a worker's own, and always present.

A SIGKILL during a page fault inside read(2) or write(2) on the device ends the request with EIO, and leaves
nothing to send again. So the memory is touched, and locked where allowed, before the first request; and an answer
is never written from a memory map of a file.

Threading: each worker has its own, made after the fork.
"""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from typing import Final

from artifactfs.mount.kernel.structures import OUT_HEADER

PAGE: Final = 4096
REQUEST_BYTES: Final = 64 << 10
"""More than any request of a read-only mount; FORGETs come in batches of as many as fit."""


def allocate(size: int) -> memoryview:
    """Return zeroed anonymous memory of whole pages, all of them present.

    Source: mmap(2), MAP_PRIVATE; mlock(2), which is tried and may be refused (RLIMIT_MEMLOCK).
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for position in range(0, size, PAGE):
        memory[position] = 1
        memory[position] = 0
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mlock(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return memoryview(memory)


class Buffers:
    """One request and one answer.

    Attributes:
        request: where requests are read to.
        reply: the answer: header, then payload.
        payload: the part of `reply` after the header; begins on a page boundary.

    Threading: one thread.
    """

    def __init__(self, max_read: int) -> None:
        """Allocate for payloads of up to `max_read` bytes."""
        self.request = allocate(REQUEST_BYTES)
        whole = allocate(PAGE + max(max_read, 128 << 10))
        self.reply = whole[PAGE - OUT_HEADER.size :]
        self.payload = whole[PAGE:]
