"""When the service of a repository does not answer: what was known last is shown, and it is asked again meanwhile.

Whoever asks first waits until all attempts have failed, or for much longer than usual. After that nobody does: a thread
asks now and then, and once it is answered, everything is looked at again. Each time that something is shown as it was
last known, a file says when: what a kernel has kept of that has to be forgotten, by whoever tells it, and that is
another process.

Used by `states.py` for mounts. Threading: an Outage may be shared by threads.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Final, TypeVar

from artifactfs.errors import ArtifactFSError, RemoteTimeoutError, RemoteUnavailableError
from artifactfs.repository.outagenotice import OutageNotice

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.clock import Clock

T = TypeVar("T")
_log = logging.getLogger(__name__)

UNANSWERED: Final = (RemoteUnavailableError, RemoteTimeoutError)
AGAIN_SECONDS: Final = 10.0
"""How long after an attempt the next one is made."""
PATIENCE_SECONDS: Final = 5.0
"""For so long an answer is waited for while something is known that can be shown instead,"""
PATIENCE_FACTOR: Final = 4
"""or for so many times as long as the last one took."""
MARK_SECONDS: Final = 0.5
FILE: Final = "unanswered"
"""In the repository's directory on this machine."""


class Outage:
    """Whether a service answers. May be shared by threads.

    Args:
        ask: makes one request that costs the service little.
        location: of the repository, for the log.
        directory: of the repository on this machine, for that file.
        clock: the time, for people.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        ask: Callable[[], object],
        *,
        location: str,
        directory: str,
        clock: Clock,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._marker = os.path.join(directory, FILE)
        self._notice = OutageNotice(directory)
        self._marked_at = -MARK_SECONDS
        self._location = location
        self._clock = clock
        self._now = now
        self._guard = threading.Lock()
        self._since_ns: int | None = None
        self._again_at = 0.0
        self._is_asking = False
        self._usual: dict[str, float] = {}

    @property
    def since_ns(self) -> int | None:
        """When it was found not to answer; None while it does."""
        return self._since_ns

    def note(self, error: ArtifactFSError) -> None:
        """Take the service as one that does not answer, because of an error of `UNANSWERED`."""
        with self._guard:
            is_new = self._since_ns is None
            if is_new:
                self._since_ns = self._clock.now_ns()
                self._notice.begin(self._since_ns)
            self._again_at = self._now() + AGAIN_SECONDS
        self._mark()
        if is_new:
            _log.warning("what was last known of %s is shown: %s", self._location, error.message)

    def run(self, kind: str, request: Callable[[], T]) -> T:
        """Return what a request returns, if that does not take much longer than the last one of its kind.

        One that is given up on goes on; if an answer comes after all, the service is one that answers.

        Raises:
            RemoteTimeoutError: nothing came in time.
            ArtifactFSError: what the request raised.
        """
        patience = max(PATIENCE_SECONDS, PATIENCE_FACTOR * self._usual.get(kind, 0.0))
        future: Future[T] = Future()
        threading.Thread(target=self._run, args=(kind, request, future), daemon=True, name="look").start()
        if not wait([future], timeout=patience).done:
            msg = f"no answer came within {patience:.0f} seconds"
            raise RemoteTimeoutError(msg, hint="try again later", subject=self._location)
        return future.result()

    def close(self) -> None:
        """Say no more that the service does not answer."""
        with self._guard:
            self._notice.end()

    def is_on(self) -> bool:
        """Return whether it did not answer when it was asked last; it is asked again when it is time for that."""
        with self._guard:
            if self._since_ns is None:
                return False
            is_due = not self._is_asking and self._now() >= self._again_at
            self._is_asking |= is_due
        if is_due:
            threading.Thread(target=self._ask_again, daemon=True, name="outage").start()
        self._mark()
        return True

    def find_last_ns(self) -> int:
        """Return when any process of this user last showed something as it was last known; 0 if none ever did."""
        try:
            return os.stat(self._marker).st_mtime_ns
        except OSError:
            return 0

    def _mark(self) -> None:
        if self._now() - self._marked_at < MARK_SECONDS:
            return
        self._marked_at = self._now()
        try:
            with open(self._marker, "ab"):
                # A moment ahead, because it is not written again within that moment.
                time_ns = time.time_ns() + int(MARK_SECONDS * 1e9)
                os.utime(self._marker, ns=(time_ns, time_ns))
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._marker, error.strerror)

    def _run(self, kind: str, request: Callable[[], T], future: Future[T]) -> None:
        begun = self._now()
        try:
            result = request()
        except BaseException as error:  # noqa: BLE001 (raised again by whoever waits)
            future.set_exception(error)
            return
        self._usual[kind] = self._now() - begun
        future.set_result(result)
        self._end()

    def _end(self) -> None:
        """Take the service as one that answers."""
        with self._guard:
            was_on, self._since_ns = self._since_ns is not None, None
            self._notice.end()
        if was_on:
            _log.warning("%s answers again", self._location)

    def _ask_again(self) -> None:
        try:
            self._ask()
        except UNANSWERED:
            is_over = False
        except ArtifactFSError:
            is_over = True  # an answer; whoever looks next is told
        else:
            is_over = True
        with self._guard:
            self._is_asking = False
            self._again_at = self._now() + AGAIN_SECONDS
        if is_over:
            self._end()
