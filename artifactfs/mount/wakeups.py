"""Asking for quick wake-ups of idle processors while a mount is busy.

A request wakes the server, and its answer wakes the reader. In a virtual machine whose idle processors are halted at
once (the `haltpoll` idle driver with its polling switched off) each of the two is an exit to the host: a round trip
between two processes took 52 microseconds there, and 8 with the processors kept awake, which is more than the work on
most requests. `/dev/cpu_dma_latency` is how a process asks the kernel for quick wake-ups: the wish stands while the
descriptor is open, so it ends with a process that is killed.

The price is that idle processors spin while it stands. So it stands only while requests come thick and fast, and is
given up a tenth of a second after they have ended.

Used by the workers of the kernel transport and by the fusepy transport.

Source: Documentation/power/pm_qos_interface.rst; drivers/cpuidle/governors/haltpoll.c.
"""

from __future__ import annotations

import logging
import os
import signal
import struct
import threading
import time
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

DEVICE: Final = "/dev/cpu_dma_latency"
IDLE_DRIVER: Final = "/sys/devices/system/cpu/cpuidle/current_driver"
POLL_NS: Final = "/sys/module/haltpoll/parameters/guest_halt_poll_ns"
_HALTPOLL: Final = "haltpoll"
_EVERY: Final = 32
"""A power of two: how many requests are one look at the clock, and how few in a tick are the end."""
_BURST_NS: Final = 20_000_000
"""So many requests within this time are a burst; single questions of a shell are not."""
_TICK_SECONDS: Final = 0.1


def wakes_slowly(driver: str = IDLE_DRIVER, poll_ns: str = POLL_NS) -> bool:
    """Return whether idle processors of this machine halt without waiting a moment for the next wake-up."""
    try:
        return Path(driver).read_text().strip() == _HALTPOLL and int(Path(poll_ns).read_text()) == 0
    except (OSError, ValueError):
        return False


def should_hasten(wanted: bool | None) -> bool:  # noqa: FBT001 - a choice of the user's, None where there is none
    """Return whether quick wake-ups are asked for: as wanted, or where they are slow and this process may ask."""
    return wakes_slowly() and os.access(DEVICE, os.W_OK) if wanted is None else wanted


class Wakeups:
    """The wish for quick wake-ups of one process.

    Threading: `note` from any thread that serves; a thread of its own, begun by the first burst, opens and closes the
    device. Make it after any fork.
    """

    def __init__(self, *, hasten: bool, device: str = DEVICE) -> None:
        """Store whether to do anything at all, and the device."""
        self._hasten = hasten
        self._device = device
        self._count = 0
        self._last_ns = 0
        self._burst = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self) -> None:
        """Count a request."""
        self._count += 1
        if not self._count & (_EVERY - 1) and self._hasten and not self._burst.is_set():
            self._look()

    def _look(self) -> None:
        now = time.monotonic_ns()
        if now - self._last_ns < _BURST_NS:
            self._burst.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="wake-ups", daemon=True)
                _start_without_signals(self._thread)
        self._last_ns = now

    def _watch(self) -> None:
        while self._burst.wait():
            try:
                self._hold()
            except OSError as error:
                self._hasten = False
                _log.warning("quick wake-ups cannot be asked for: %s: %s", self._device, error.strerror)
                return
            self._burst.clear()

    def _hold(self) -> None:
        """Hold the wish until requests come slowly again."""
        descriptor = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
        try:
            # Only zero keeps a guest's processors from halting; elsewhere the lightest sleep is as good as none.
            os.write(descriptor, struct.pack("=i", 0 if wakes_slowly() else 2))
            before = -_EVERY
            while self._count - before >= _EVERY:
                before = self._count
                time.sleep(_TICK_SECONDS)
        finally:
            os.close(descriptor)


def _start_without_signals(thread: threading.Thread) -> None:
    """Start a thread that takes no signal: a signal must interrupt the thread that waits for requests.

    A new thread has the mask of the one that makes it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
