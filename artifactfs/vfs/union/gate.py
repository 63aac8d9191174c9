"""The gate of a staging directory: changes go through it, and a freeze closes it.

A freeze first refuses while a file is open for writing, then lets what is under way finish, and then holds every change
until it is over. Nothing is lost: who changes something meanwhile just waits.

Used by the union. Threading: shared by all threads.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from artifactfs.errors import BusyError
from artifactfs.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMED_WRITERS = 5
RELEASE_SECONDS = 1.0
"""How long a freeze waits for files that were closed a moment ago: the kernel tells of a close later."""


def _do_nothing() -> None:
    """Stand for nothing to be done."""


class Writer(NamedTuple):
    """A file that is open for writing: by which process (the one that opened it), and its entry path now."""

    pid: int
    path: bytes


class Gate:
    """Holds changes while frozen. Shared by all threads.

    Args:
        name: of the staging directory.
        describe_process: returns what to call a process, by its number.
        will_wait: called by a thread before it waits for a thaw.
    """

    def __init__(
        self, *, name: str, describe_process: Callable[[int], str], will_wait: Callable[[], None] = _do_nothing
    ) -> None:
        self._name = name
        self._will_wait = will_wait
        self._describe_process = describe_process
        self._condition = threading.Condition()
        self._writers: dict[int, Writer] = {}
        self._changing = 0
        self._frozen = False

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Let one change through; waits while frozen."""
        with self._condition:
            if self._frozen:
                self._will_wait()
                self._condition.wait_for(lambda: not self._frozen)
            self._changing += 1
        try:
            yield
        finally:
            with self._condition:
                self._changing -= 1
                self._condition.notify_all()

    def add_writer(self, handle: int, writer: Writer) -> None:
        """Note that a file was opened for writing; inside `changing`."""
        with self._condition:
            self._writers[handle] = writer

    def remove_writer(self, handle: int) -> None:
        """Note that it was closed."""
        with self._condition:
            self._writers.pop(handle, None)
            self._condition.notify_all()

    def rename_writers(self, old: bytes, new: bytes) -> None:
        """Note that a path, with what is below it, was renamed."""
        with self._condition:
            for handle, writer in self._writers.items():
                if writer.path == old or writer.path.startswith(old + b"/"):
                    self._writers[handle] = writer._replace(path=new + writer.path[len(old) :])

    def writers(self) -> list[Writer]:
        """Return the files that are open for writing."""
        with self._condition:
            return list(self._writers.values())

    def freeze(self, *, wait_seconds: float = RELEASE_SECONDS) -> None:
        """Hold all changes from now on, until `thaw`.

        Args:
            wait_seconds: how long to wait for files to be closed.

        Raises:
            BusyError: files are open for writing (named with their processes), or it is frozen already.
        """
        deadline = time.monotonic() + wait_seconds
        with self._condition:
            self._check_not_frozen()
            self._condition.wait_for(lambda: not self._writers, timeout=max(0.0, deadline - time.monotonic()))
            if self._writers:
                raise self._busy()
            self._check_not_frozen()  # again: waiting gave the lock away
            self._frozen = True
            self._condition.wait_for(lambda: not self._changing)
            if self._writers:
                # Opened by a change that was under way.
                self._frozen = False
                self._condition.notify_all()
                raise self._busy()

    def thaw(self) -> None:
        """Let changes through again; harmless when not frozen."""
        with self._condition:
            self._frozen = False
            self._condition.notify_all()

    def _check_not_frozen(self) -> None:
        if self._frozen:
            msg = f"{self._name} is being committed already"
            raise BusyError(msg, hint="wait for the other commit")

    def _busy(self) -> BusyError:
        found = sorted(set(self._writers.values()), key=lambda writer: (writer.path, writer.pid))
        shown = [f"{printable(writer.path)} by {self._describe_process(writer.pid)}" for writer in found]
        more = f" and {len(shown) - NAMED_WRITERS} more" if len(shown) > NAMED_WRITERS else ""
        msg = f"{self._name} has files open for writing: {', '.join(shown[:NAMED_WRITERS])}{more}"
        return BusyError(msg, hint="let these processes close them, or use --wait")
