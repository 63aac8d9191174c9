"""The few numbers that workers share with the supervisor: what each is doing, and what it has done.

A memfd holds a row of 64-bit counters for each process. A process writes only its own row, so nothing is locked;
the supervisor reads rows at any time. The memfd goes through exec, so counts go on over an upgrade.

Threading: each process its own row; readers see each number whole.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

ROW_WORDS: Final = 256
MAX_ROWS: Final = 16
WORD: Final = 8
NOTIFIER_ROW: Final = MAX_ROWS - 1
FETCHER_ROW: Final = MAX_ROWS - 2

# Words of a row.
BUSY_SINCE: Final = 0
"""`time.monotonic_ns()` when the present request came, or when work on it last got on; 0 while waiting."""
PID: Final = 1
BYTES: Final = 2
ERRORS: Final = 3
"""Requests that ended with an error that was logged; that a name or an attribute does not exist is none."""
OPCODE: Final = 4
NODE: Final = 5
TOTAL_NS: Final = 6
RESENT: Final = 7
WAITING: Final = 8
"""Of the fetcher: requests that it has not answered yet."""
BY_OPCODE: Final = 64
"""One word for each operation up to 63; others count as 0."""
LATENCY: Final = 128
"""`LATENCY_BUCKETS` words: bucket b counts requests of less than 2**b microseconds, and not less than half."""
LATENCY_BUCKETS: Final = 40
FETCHES: Final = LATENCY + LATENCY_BUCKETS
"""Of the fetcher: `FETCHES_SHOWN` times `FETCH_WORDS` words, the operation, node and offset of what waits, the oldest
first; an operation of 0 ends them."""
FETCHES_SHOWN: Final = 16
FETCH_WORDS: Final = 3


class SharedCounters:
    """The memory of all rows.

    Threading: see the module.
    """

    def __init__(self, descriptor: int) -> None:
        """Map the memfd `descriptor`, which stays open as long as this lives."""
        self.descriptor = descriptor
        if os.fstat(descriptor).st_size < MAX_ROWS * ROW_WORDS * WORD:  # an earlier release had fewer rows
            os.truncate(descriptor, MAX_ROWS * ROW_WORDS * WORD)
        self._map = mmap.mmap(descriptor, MAX_ROWS * ROW_WORDS * WORD)
        self._words = memoryview(self._map).cast("Q")

    def row(self, index: int) -> memoryview:
        """Return the row of a process."""
        return self._words[index * ROW_WORDS : (index + 1) * ROW_WORDS]

    def totals(self) -> list[int]:
        """Return the sum of all rows, word by word (only the counts mean anything)."""
        rows = [self.row(index).tolist() for index in range(MAX_ROWS)]
        return [sum(column) for column in zip(*rows, strict=True)]


def create_counters() -> SharedCounters:
    """Return new counters, all 0. Source: memfd_create(2)."""
    descriptor = os.memfd_create("artifactfs-counters", os.MFD_CLOEXEC)
    os.truncate(descriptor, MAX_ROWS * ROW_WORDS * WORD)
    return SharedCounters(descriptor)
