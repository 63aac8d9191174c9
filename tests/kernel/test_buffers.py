"""The memory of requests and answers: all of it there and locked before the first request comes."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import struct
from pathlib import Path

import pytest

from artifactfs.mount.kernel import buffers
from artifactfs.mount.kernel.buffers import PAGE, Buffers, allocate

SIZE = 256 << 10
PRESENT, EXCLUSIVE = 1 << 63, 1 << 56
"""Bits of /proc/PID/pagemap. The page of zeros that reading alone gives is nobody's alone."""


def pages(memory: memoryview) -> list[int]:
    """Return the kernel's entry of each page of some memory."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert address % PAGE == 0
    assert len(memory) % PAGE == 0
    count = len(memory) // PAGE
    with open("/proc/self/pagemap", "rb", buffering=0) as table:
        found = os.pread(table.fileno(), 8 * count, address // PAGE * 8)
    return list(struct.unpack(f"={count}Q", found))


def locked() -> int:
    """Return the bytes of this process that are locked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmLck:")) << 10


def test_memory_is_touched_where_it_cannot_be_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __init__(self, name: None) -> None: ...

        def mlock(self, *_: object) -> int:
            return -1

    monkeypatch.setattr(buffers.ctypes, "CDLL", Refusing)
    before = locked()
    memory = allocate(SIZE)
    assert locked() == before
    assert all(entry & PRESENT and entry & EXCLUSIVE for entry in pages(memory))
    assert not any(memory)


@pytest.mark.skipif(
    os.geteuid() != 0 and resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 4 << 20, reason="locking is refused"
)
def test_memory_is_locked_to_the_byte() -> None:
    gc.collect()  # what other tests have left must not be unlocked meanwhile
    before = locked()
    memory = allocate(SIZE)
    assert locked() - before == len(memory) == SIZE
    both = Buffers(1 << 20)
    assert locked() - before == SIZE + len(both.request) + PAGE + len(both.payload)
    assert len(both.payload) == 1 << 20
