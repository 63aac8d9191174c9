"""Bringing back staging directories that were lost: a server that was killed, a bind that was unmounted.

It also listens on the socket in the mount (`port`), and answers prunes (`answering`), because it is there anyway and
serves nothing.

A thread in the server of the whole repository looks at the mount table, at locks and at the state directory, and so
touches no mount. When something is missing it starts a helper process (`python -m artifactfs.mount.keeper ORDER`),
which does what `api.attach_staging` does: a process must not look into a mount that it serves.

Used by `daemon`.

Threading: one thread for each mount of a whole repository.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading

from artifactfs.mount.answering import Answerer
from artifactfs.mount.control import MAIN_THREAD_SIGNALS
from artifactfs.mount.holds import Holds
from artifactfs.mount.mountinfo import find_mount, read_mounts
from artifactfs.mount.orders import Order
from artifactfs.mount.port import place
from artifactfs.mount.port.listening import Listener
from artifactfs.mount.registry import is_served, slot_for
from artifactfs.mount.staging_mounts import StagingKey, attach_all, staging_keys

_log = logging.getLogger(__name__)

_MODULE = "artifactfs.mount.keeper"
_LOOK_MILLISECONDS = 3000
_FIRST_LOOK_MILLISECONDS = 2000
_HELPER_SECONDS = 120
_GIVE_UP_AFTER = 5
_MOUNT_TABLE = "/proc/self/mounts"


class Keeper:
    """Watches the staging directories of one mount.

    Threading: `start` from any thread; the rest in its own, which ends with the mount or the process.
    """

    def __init__(self, order: Order, *, repository_id: str, location: str, holds: Holds | None = None) -> None:
        self._order = order
        self._repository_id = repository_id
        self._location = location
        self._failures: dict[StagingKey, int] = {}
        self._has_port = False
        self._holds = holds

    def start(self) -> None:
        """Watch in the background."""
        threading.Thread(target=self._watch, name="keeper", daemon=True).start()

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, MAIN_THREAD_SIGNALS)
        self.watch()

    def watch(self) -> None:
        """Watch in this thread until the mount is gone."""
        # In the background, whoever started the mount shows the staging directories first.
        pause = 0 if self._order.foreground else _FIRST_LOOK_MILLISECONDS
        listener = Listener(self._order, repository_id=self._repository_id)
        self._has_port = listener.open()
        answerer = None if self._holds is None else Answerer(self._holds, self._order)
        try:
            with open(_MOUNT_TABLE, "rb") as table:
                poll = select.poll()
                poll.register(table, select.POLLPRI | select.POLLERR)
                if self._has_port:
                    poll.register(listener, select.POLLIN)
                if answerer is not None:
                    poll.register(answerer, select.POLLIN)
                    answerer.answer()
                poll.poll(pause)
                while self._look():
                    if self._has_port:
                        listener.accept()
                    if answerer is not None:
                        answerer.answer()
                    poll.poll(_LOOK_MILLISECONDS)
        except Exception:  # noqa: BLE001  (a bug must not end the server)
            _log.exception("staging directories are not watched any more")
        finally:
            listener.close()
            if answerer is not None:
                answerer.close()
            if find_mount(self._order.mountpoint) is None:
                place.remove(self._order, self._order.mountpoint)

    def _look(self) -> bool:
        """Bring back what is lost; return False when the mount is gone."""
        mounted = {line.mountpoint for line in read_mounts()}
        if self._order.mountpoint not in mounted:
            return False
        keys = staging_keys(self._order, self._repository_id, self._location)
        lost = [key for key in keys if self._is_lost(key, mounted) and self._failures.get(key, 0) < _GIVE_UP_AFTER]
        if lost or self._has_lost_port(mounted):
            _log.info("showing %d staging directories", len(lost))
            self._show_all()
        mounted = {line.mountpoint for line in read_mounts()}
        self._failures = {key: self._failures.get(key, 0) + 1 for key in keys if self._is_lost(key, mounted)}
        return True

    def _show_all(self) -> None:
        """Have a helper show what is lost; what it did not get done is looked for again."""
        command = [sys.executable, "-P", "-m", _MODULE, self._order.encode(), self._repository_id, self._location]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, cwd="/", timeout=_HELPER_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            _log.warning("showing staging directories is tried again: %s", _describe(error))

    def _has_lost_port(self, mounted: set[str]) -> bool:
        return self._has_port and os.path.join(self._order.mountpoint, place.NAME) not in mounted

    def _is_lost(self, key: StagingKey, mounted: set[str]) -> bool:
        if not is_served(slot_for(self._order, key.own_mountpoint(self._order))):
            return True
        return not self._order.staging_links and key.path_in(self._order.mountpoint) not in mounted


def _describe(error: OSError | subprocess.TimeoutExpired) -> str:
    if isinstance(error, OSError):
        return f"no process can be started: {error.strerror}"
    return f"it was not done after {error.timeout:.0f} s"


def main(arguments: list[str]) -> int:
    """Show the staging directories of a repository's mounts; return the exit code."""
    text, repository_id, location = arguments
    order = Order.decode(text)
    place.show(order, order.mountpoint)
    failed = attach_all(order, staging_keys(order, repository_id, location), author=order.author)
    for error in failed:
        sys.stderr.write(f"a staging directory cannot be shown: {error}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
