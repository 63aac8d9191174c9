"""The process beside an overlay: it mounts, holds the staging directory's lock, freezes, and ends with the mount.

It serves nothing: the kernel does. When it is killed, the overlay stays, and the next server goes on with it. When the
server of the lower mount dies, what is not cached gives ENOTCONN; then this process takes the overlay away and ends,
and the mount of the repository brings both back.

Where the overlay driver is not to be used, the union serves.

Run by `mount.daemon`.

Threading: the main thread waits; the control socket has its own threads.
"""

from __future__ import annotations

import logging
import select
import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError
from artifactfs.mount.control import ControlServer
from artifactfs.mount.daemon import Daemon, Served, load, serve
from artifactfs.mount.following import references_of, remote_of
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.orders import LOWER
from artifactfs.mount.overlay import mounted
from artifactfs.mount.overlay.choice import choose_driver
from artifactfs.mount.overlay.lingering import is_lingering
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.mount.overlay.session import Freeze, OverlaySession
from artifactfs.mount.registry import held_slot
from artifactfs.mount.renewing import renew
from artifactfs.mount.spare import Spare, fork_spare
from artifactfs.repository.repository import open_repository
from artifactfs.repository.staging import StagingArea
from artifactfs.staging.layout import AUTO, OVERLAY, UNION, is_freezing, read_driver, serving

if TYPE_CHECKING:
    from artifactfs.mount.overlay.lower import Lower
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging

_log = logging.getLogger(__name__)

_MOUNT_TABLE: Final = "/proc/self/mounts"
_LOWER_END_MILLISECONDS: Final = -1
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class OverlayDaemon(Daemon):
    """The server of one staging directory, by whichever driver is to be used.

    Threading: `run` in the main thread.
    """

    _spare: Spare | None = None

    def run(self) -> int:
        """Serve until the mount is gone; return the process's exit code."""
        # An overlay whose server was killed has its lower mount already.
        if may_overlay() and find_mount(self._order.mountpoint) is None:
            self._spare = fork_spare(self._order, load=lambda: load(LOWER), serve=serve)
        try:
            return super().run()
        finally:
            self._forgo_spare()

    def _forgo_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def _serve(self) -> None:
        with ExitStack() as stack:
            lower = self._begin(stack)
            if lower is not None:
                self._forgo_spare()
                self._watch(lower)
                return
        self._forgo_spare()
        self.transport = "fusepy"
        super()._serve()

    def _begin(self, stack: ExitStack) -> Lower | None:
        """Mount, or find what is mounted, and answer; return None when the union is to serve."""
        order = self._order
        repository = stack.enter_context(
            open_repository(
                order.repository,
                state=order.state,
                author=order.author,
                remote=remote_of(order),
                references=references_of(order),
            )
        )
        staging = StagingArea(repository).get(order.collection or "", order.staging or "")
        if choose_driver(staging) == UNION:
            return None
        stack.enter_context(held_slot(self._slot, mountpoint=order.mountpoint))
        stack.enter_context(serving(staging.layout))
        # From here on no commit begins before the control socket is there, so this one was begun with another server.
        is_frozen = is_freezing(staging.layout)
        lower = self._mount(repository, staging, is_frozen=is_frozen)
        if lower is None:
            return None
        stack.callback(lower.close)
        self.transport = OVERLAY
        freeze = Freeze(order.mountpoint, name=str(staging))
        if is_frozen:
            freeze.go_on(staging.layout)
        self._served = Served(
            None,
            {},
            lambda: OverlaySession(freeze),
            repository_id=repository.id,
            location=repository.location,
            collection=staging.collection,
        )
        control = ControlServer(self._slot.socket, self._served.make_session)
        control.start()
        stack.callback(control.close)
        self._become_ready()
        return lower

    def _mount(self, repository: Repository, staging: Staging, *, is_frozen: bool) -> Lower | None:
        if is_frozen and read_driver(staging.layout) == UNION:
            return None  # a commit reads the union's marks: they stay as they are
        found = mounted.adopt(self._order, staging, is_frozen=is_frozen)
        if found is not None:
            _log.info("going on with the overlay on %s", self._order.mountpoint)
            return found
        mounted.unmount(self._order.mountpoint)
        if is_lingering(staging):  # who stands inside goes on writing there
            _log.info("%s goes on over its upper directory, which is still in use", staging)
        else:
            staging = renew(StagingArea(repository), staging)
        try:
            return mounted.mount(self._order, staging, spare=self._spare, is_frozen=is_frozen)
        except ArtifactFSError as error:
            if staging.info.driver != AUTO or read_driver(staging.layout) == OVERLAY:
                raise
            _log.warning("driver: union, because the overlay driver cannot be used: %s", error)
            return None

    def _watch(self, lower: Lower) -> None:
        """Wait until the overlay is unmounted, the lower mount is dead, or this process is told to end."""
        order = self._order
        reading, writing = socket.socketpair()
        writing.setblocking(False)  # noqa: FBT003 - the only way to say it
        signal.set_wakeup_fd(writing.fileno())
        for number in _SIGNALS:
            signal.signal(number, _do_nothing)
        poll = select.poll()
        with reading, writing, open(_MOUNT_TABLE, "rb") as table:
            poll.register(table, select.POLLPRI | select.POLLERR)
            poll.register(reading, select.POLLIN)
            if lower.watch is not None:
                poll.register(lower.watch, select.POLLIN)
            while find_mount(order.mountpoint) is not None:
                ready = {descriptor for descriptor, _ in poll.poll()}
                if lower.watch in ready:
                    _log.error("the server of the version below ended; %s is mounted anew", order.mountpoint)
                if ready & {lower.watch, reading.fileno()}:
                    mounted.unmount(order.mountpoint)
            mounted.remove_note(order)
            lower.end()
            self._await_lower(lower, reading)

    def _await_lower(self, lower: Lower, told: socket.socket) -> None:
        """Hold the staging directory until nobody is inside: only then does the server of the lower mount end."""
        if lower.watch is None:
            return
        poll = select.poll()
        poll.register(lower.watch, select.POLLIN)
        poll.register(told, select.POLLIN)
        poll.poll(_LOWER_END_MILLISECONDS)


def _do_nothing(number: int, frame: object) -> None:
    """Let a signal only wake the main thread up."""
    del number, frame
