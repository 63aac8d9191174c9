"""Ctrl-C and SIGTERM while a network is waited for: the program ends within seconds, whatever does not answer.

Threads that wait for an answer do not see signals. Whoever was interrupted gets a moment to clean up; then the process
ends, which is safe at any time: what was recorded before stays, and what was not is named by nothing.

Threading: handlers run in the main thread.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn

from .failures import Terminated

if TYPE_CHECKING:
    from types import FrameType

PATIENCE_SECONDS: Final = 2.0


def end_soon_when_interrupted() -> None:
    """From now on, end within seconds of SIGINT or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN and threading.current_thread() is threading.main_thread():
            signal.signal(number, _raise_and_watch)


def _raise_and_watch(number: int, _frame: FrameType | None) -> NoReturn:
    timer = threading.Timer(PATIENCE_SECONDS, _end, (number,))
    timer.daemon = True
    timer.start()
    if number == signal.SIGTERM:
        raise Terminated
    raise KeyboardInterrupt


def _end(number: int) -> None:
    """End at once; the message may have been printed or not."""
    sys.stderr.flush()
    os._exit(128 + number)
