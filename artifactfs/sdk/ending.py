"""How a program ends: by itself, with an exception, or with what `sys.exit` was given.

Python tells functions of `atexit` of uncaught exceptions, but not of SystemExit. So `sys.exit` is watched while a run
goes on. What raises SystemExit itself, and is not in the run's `with` block, is not seen.

Used by `starting` and `run.py`. Threading: an Ending may be cancelled by any thread.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, NoReturn

from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from collections.abc import Callable


class Ending:
    """Finishes something when this program ends, unless it is cancelled first. A forked child's end is not meant.

    Args:
        finish: is given the exit code. What it raises is dropped: the program's own end must not fail on this.
    """

    def __init__(self, finish: Callable[[int], None]) -> None:
        self._finish = finish
        self._owner = os.getpid()
        self._earlier = getattr(sys, "last_value", None)
        self._given: SystemExit | None = None
        self._exit = sys.exit
        self._watch = self._make_watch()
        sys.exit = self._watch  # type: ignore[assignment]
        atexit.register(self._end)

    def cancel(self) -> None:
        """Forget it."""
        atexit.unregister(self._end)
        if sys.exit is self._watch:  # else somebody else watches, too, and goes on to call this one
            sys.exit = self._exit

    def _make_watch(self) -> Callable[[str | int | None], NoReturn]:
        before = sys.exit

        @wraps(before)
        def watch(status: str | int | None = None, /) -> NoReturn:
            if threading.current_thread() is threading.main_thread():  # in others it ends only these
                self._given = SystemExit(status)
            before(status)

        return watch

    def _end(self) -> None:
        if os.getpid() == self._owner:
            uncaught = getattr(sys, "last_value", None)
            with suppress(ArtifactFSError, OSError):
                self._finish(find_exit_code(self._given if uncaught is self._earlier else uncaught))


def find_exit_code(error: BaseException | None) -> int:
    """Return what Python ends with when an exception ends the program; None is its ordinary end.

    Source: sys.exit in the library reference; Python exits with 130 after an interrupt, as shells do.
    """
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        code = error.code
        return int(code) if isinstance(code, int) else int(code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else 1
