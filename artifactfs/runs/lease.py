"""How long a run counts as alive after it was last heard of, and the thread that lets it be heard of.

A lease is five minutes at first and a quarter of the run's age later, up to an hour: a short run that was killed is
known to be lost soon, and a run of a week writes one small event every half hour.

Used by whoever runs something. Threading: a Heartbeat has one thread of its own; `stop` may be called by any.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_NS: Final = 300 * 10**9
LONGEST_NS: Final = 3600 * 10**9
GIVEN_UP_NS: Final = 7 * 86_400 * 10**9
"""A run of which nothing was heard for so long is not asked for again, until a note says that it goes on."""
_log = logging.getLogger(__name__)


def find_lease_ns(age_ns: int) -> int:
    """Return how long a run of this age counts as alive after an event."""
    return min(max(SHORTEST_NS, age_ns // 4), LONGEST_NS)


class Heartbeat:
    """Renews a lease from a thread until it is stopped, twice as often as needed; sooner again when that failed.

    Args:
        renew: records that the run is alive, and returns the new lease.
        lease_ns: the lease that the run has now.
    """

    def __init__(self, renew: Callable[[], int], *, lease_ns: int) -> None:
        self._renew = renew
        self._lease_ns = lease_ns
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="artifactfs-run", daemon=True)
        self._pid = os.getpid()

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Renew no more, and wait until what was being recorded is; does nothing in a forked child."""
        self._stopped.set()
        if self._pid == os.getpid() and self._thread.is_alive():
            self._thread.join()

    def _beat(self) -> None:
        wait_ns = self._lease_ns / 2
        while not self._stopped.wait(wait_ns / 1e9):
            wait_ns = self._lease_ns / 16  # after an error there is time for some more before the lease runs out
            try:
                self._lease_ns = self._renew()
                wait_ns = self._lease_ns / 2
            except (ArtifactFSError, OSError) as error:
                _log.warning("a run could not be recorded as alive: %s", error)
            except Exception:  # noqa: BLE001 - a bug must not keep the run from being tried as alive again
                _log.exception("a run could not be recorded as alive")
