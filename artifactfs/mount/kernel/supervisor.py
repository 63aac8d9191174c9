"""The supervisor: holds the descriptor of a mount, and keeps workers, a fetcher and a notifier alive.

It answers no request and looks into no mount. When a worker dies it starts another and has the kernel hand out
again what the dead one had taken (RESEND). It has one thread, so that forking is safe, and waits in one place for
signals, sockets and time.

Threading: one thread.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from artifactfs.errors import ArtifactFSError, MountError
from artifactfs.mount.kernel import shared
from artifactfs.mount.kernel.codes import InitFlag, Opcode
from artifactfs.mount.kernel.idleness import Idleness
from artifactfs.mount.kernel.notifications import encode_inc_epoch, encode_resend
from artifactfs.mount.kernel.processes import describe_status, end_children, fork_child, reap
from artifactfs.mount.kernel.renewal import Renewals
from artifactfs.mount.kernel.serving import Mounted, run_fetcher, run_notifier, run_worker

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
TICK_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 2.0
_INC_EPOCH_MINOR: Final = 44
_CRASH_SECONDS: Final = 1.0
"""A child that lived shorter has crashed at its start."""
_BACKOFF_LIMIT_SECONDS: Final = 5.0
_FORK_SECONDS: Final = 0.25
"""Where no process could be started it is tried again after so long."""
CRASH_LIMIT: Final = 8
"""A worker that cannot start so often in a row ends the mount: an error is better than waiting for ever."""
STUCK_LIMIT: Final = 16
"""So many processes that were replaced may wait for a disk at once; who is stuck after that is left alone."""
_STOPPING: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
LEAVING: Final = signal.SIGUSR1
"""Whoever sends it starts another supervisor: end, and leave the mount as it is."""


class Supervisor:
    """Keeps the processes of one mount.

    Threading: one thread, which is the only one of its process.
    """

    def __init__(
        self, mounted: Mounted, *, restarts: int = 0, upgrades: int = 0, resumes: bool = False, renews: bool = True
    ) -> None:
        """Store what is served, what an earlier supervisor counted, and whether one served this mount before.

        Without `renews` the mount ends when what it is served from is damaged.
        """
        self._renews = renews
        self.mounted = replace(mounted, may_renew=mounted.settings.source.can_renew)
        self.restarts = restarts
        self.upgrades = upgrades
        self.children: dict[int, int] = {}
        """Row by process id. Workers have rows from 0; the notifier has the last, the fetcher the one before."""
        self._started: dict[int, float] = {}
        self._crashes: dict[int, int] = {}
        self._due: dict[int, float] = {}
        self._unstarted: set[int] = set()
        """Rows of which it was said that no process can be started."""
        self._stuck: set[int] = set()
        """Processes that were replaced because they were stuck, and have not ended yet."""
        self._ended = False
        self.is_leaving = False
        """Whether it ended because another takes its place."""
        self._resumes = resumes
        self._selector = selectors.DefaultSelector()
        self._old: set[int] = set()
        self._ticks: list[Callable[[], None]] = []
        self._soon: list[Callable[[], None]] = []
        self._helpers: dict[int, tuple[str, Callable[[], int]]] = {}
        self._on_started: Callable[[], None] | None = None
        self._on_renewed: Callable[[], None] | None = None
        self._renewals = Renewals()
        self._idleness = Idleness(mounted.settings.mountpoint, mounted.counters, workers=mounted.settings.workers)

    def _is_worker(self, row: int) -> bool:
        return row < self.mounted.settings.workers

    # What the embedding daemon uses

    def add_reader(self, source: Any, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `source` can be read."""
        self._selector.register(source, selectors.EVENT_READ, callback)

    def remove_reader(self, source: Any) -> None:
        """Wait for `source` no longer."""
        self._selector.unregister(source)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, after what is being handled."""
        self._soon.append(callback)

    def add_tick(self, callback: Callable[[], None]) -> None:
        """Call `callback` about once a second."""
        self._ticks.append(callback)

    def add_helper(self, name: str, main: Callable[[], int]) -> None:
        """Keep another child alive, which runs `main`; it is not started again after it has returned 0."""
        row = shared.FETCHER_ROW - 1 - len(self._helpers)
        self._helpers[row] = (name, main)
        if self.children:
            self._fork(row)

    def call_when_started(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the children have been started."""
        self._on_started = callback

    def call_when_renewed(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the mount goes on with another epoch."""
        self._on_renewed = callback

    def stop(self) -> None:
        """Leave `run` soon."""
        self._ended = True

    def adopt(self, pids: tuple[int, ...]) -> None:
        """End the children of an earlier supervisor of this process once the own ones serve."""
        self._old |= set(pids)

    # The life of the processes

    def start(self) -> None:
        """Fork the fetcher, the workers and the notifier, and let an earlier supervisor's go."""
        if self.mounted.errands is not None:
            self._fork(shared.FETCHER_ROW)
        for row in (*range(self.mounted.settings.workers), shared.NOTIFIER_ROW):
            self._fork(row)
        if self._old:
            end_children(self._old, grace_seconds=GRACE_SECONDS)
            self._old.clear()
            self._resumes = True  # what they had taken and not answered is lost with them
        if self._resumes:
            self._resend()

    def run(self) -> None:
        """Keep the children alive until the mount ends, `stop` is called, or a signal of stopping or leaving comes."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.settimeout(0)
            signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            for number in (*_STOPPING, LEAVING, signal.SIGCHLD):
                if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN):  # nohup(1)
                    signal.signal(number, _ignore)
            self.add_reader(ours, lambda: self._take_signals(ours))
            try:
                self.start()
                if not (self.children or self._resumes):
                    msg = "no process can be started to serve the mount"
                    raise MountError(msg, hint="its log says why; see ulimit -u, and the limits of the control group")
                if self._on_started is not None:
                    self._on_started()
                while not self._ended:
                    self._step()
            finally:
                signal.set_wakeup_fd(-1)
                self._selector.close()

    def end(self) -> None:
        """End all children."""
        end_children(set(self.children), grace_seconds=GRACE_SECONDS)
        self.children.clear()

    def _take_signals(self, channel: socket.socket) -> None:
        numbers = set(channel.recv(4096))
        if _STOPPING & numbers:
            self._ended = True
        elif LEAVING in numbers:
            self._ended = self.is_leaving = True

    def _step(self) -> None:
        for key, _ in self._selector.select(TICK_SECONDS if not self._due else 0.05):
            self._call(key.data)
        self._replace_dead()
        if self._renewals.is_due and not self._ended:
            self._renew()
        self._replace_stuck()
        if self._idleness.is_due():
            self._replace_idle()
        for tick in self._ticks:
            self._call(tick)
        while self._soon:
            self._call(self._soon.pop(0))

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except ArtifactFSError as error:
            _log.error("%s", error)
        except Exception:  # noqa: BLE001 - a bug in what is asked of it must not end the mount
            _log.exception("what was asked of the supervisor failed in an unexpected way")

    def _fork(self, row: int) -> None:
        try:
            pid = self._fork_for(row)
        except OSError as error:  # no memory, or too many processes: others may end
            if row not in self._unstarted:
                _log.error("no process can be started for row %d: %s; it is tried again", row, error.strerror)
            self._unstarted.add(row)
            self._due[row] = time.monotonic() + _FORK_SECONDS
            return
        self._unstarted.discard(row)
        self.children[pid] = row
        self._started[row] = time.monotonic()
        self._due.pop(row, None)

    def _fork_for(self, row: int) -> int:
        if row in self._helpers:
            return self._fork_child(*self._helpers[row])
        if row == shared.FETCHER_ROW:
            return self._fork_child("af-fetcher", lambda: run_fetcher(self.mounted, row))
        if row == shared.NOTIFIER_ROW:
            return self._fork_child("af-notifier", lambda: run_notifier(self.mounted, row))
        return self._fork_child(f"af-worker-{row}", lambda: run_worker(self.mounted, row))

    def _fork_child(self, name: str, main: Callable[[], int]) -> int:
        """Fork a child that has none of the sockets: it would keep a port taken when this program is replaced."""

        def run() -> int:
            for key in list(self._selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
            return main()

        return fork_child(name, run)

    def _replace_dead(self) -> None:
        lost = False
        for pid, status in reap():
            row = self.children.pop(pid, None)
            if pid in self._stuck:
                self._stuck.remove(pid)
                lost = True
            if row is not None and not self._ended:
                lost |= self._bury(row, pid, status)
        now = time.monotonic()
        for row in [row for row, due in self._due.items() if due <= now]:
            self._fork(row)
        if lost:
            self._resend()

    def _bury(self, row: int, pid: int, status: int) -> bool:
        """Note the death of a child; return whether requests may have died with it."""
        if status == 0:
            if not self._is_worker(row):
                return False  # it has nothing to do: nothing ever changes in what is served
            _log.info("the mount has ended")
            self._ended = True
            return False
        _log.warning("process %d of row %d ended: %s; it is replaced", pid, row, describe_status(status))
        self.restarts += 1
        if self.mounted.settings.source.can_renew and self._renewals.note_end(status):
            return True  # started again with all others
        lived = time.monotonic() - self._started[row]
        self._crashes[row] = self._crashes.get(row, 0) + 1 if lived < _CRASH_SECONDS else 0
        patience = 0.0 if os.WIFSIGNALED(status) else min(0.05 * 2 ** self._crashes[row], _BACKOFF_LIMIT_SECONDS)
        self._due[row] = time.monotonic() + patience
        if self._crashes[row] >= CRASH_LIMIT and not os.WIFSIGNALED(status) and self._is_worker(row):
            _log.error("workers cannot start; the mount ends")
            self._ended = True
        return self._is_worker(row) or row == shared.FETCHER_ROW

    def _renew(self) -> None:
        """Serve something else, because what was served is damaged or gone; errors only, where that cannot be had."""
        mounted = self.mounted
        if not self._renews:
            _log.error("what is served is damaged or gone: the mount ends")
            self._ended = True
            return
        found = self._renewals.renew(mounted.settings.source)
        if found is None and not mounted.may_renew:
            return  # as before
        settings = mounted.settings if found is None else structs.replace(mounted.settings, source=found)
        self.mounted = replace(mounted, settings=settings, may_renew=found is not None)
        self._old |= {pid for pid, row in self.children.items() if row not in self._helpers}
        self.children = {pid: row for pid, row in self.children.items() if row in self._helpers}
        self._due = {row: due for row, due in self._due.items() if row in self._helpers}
        self._resumes = True
        self.start()
        if found is None:
            return
        self._forget_names()
        if self._on_renewed is not None:
            self._call(self._on_renewed)

    def _forget_names(self) -> None:
        if self.mounted.agreed.minor < _INC_EPOCH_MINOR:
            _log.warning("this kernel (before Linux 6.16) goes on with the names it knows: unmount, and mount again")
            return
        with suppress(OSError):
            os.write(self.mounted.device, encode_inc_epoch())

    def _resend(self) -> None:
        if not self.mounted.agreed.has(InitFlag.HAS_RESEND):
            return
        with suppress(OSError):  # ENODEV: unmounted meanwhile
            os.write(self.mounted.device, encode_resend())

    def _replace_stuck(self) -> None:
        limit = int(self.mounted.settings.stuck_seconds * 1e9)
        now = time.monotonic_ns()
        for pid, row in list(self.children.items()):
            if len(self._stuck) >= STUCK_LIMIT:
                return  # the disk answers nobody: more processes would only wait with these
            words = self.mounted.counters.row(row)
            since = words[shared.BUSY_SINCE]
            if since and now - since > limit and words[shared.PID] == pid:
                self._replace_one_stuck(pid, row, words)

    def _replace_one_stuck(self, pid: int, row: int, words: memoryview) -> None:
        what = Opcode(words[shared.OPCODE]).name if words[shared.OPCODE] in set(Opcode) else "a notification"
        _log.error(
            "process %d has worked for over %.0f s on %s of node %d; it is replaced",
            pid, self.mounted.settings.stuck_seconds, what, words[shared.NODE],
        )  # fmt: skip
        self._replace(pid, row)

    def _replace_idle(self) -> None:
        """Replace who is stopped, and all workers where requests wait and none takes any."""
        if len(self._stuck) >= STUCK_LIMIT:
            return
        seconds = self.mounted.settings.stuck_seconds
        ours = {pid: row for pid, row in self.children.items() if row not in self._helpers}
        for pid in self._idleness.find_stopped(ours):
            _log.error("process %d of row %d is stopped; it is replaced", pid, ours.pop(pid))
            self._replace(pid, self.children[pid])
        if self._idleness.is_overdue(seconds):
            pids = sorted(pid for pid, row in ours.items() if self._is_worker(row))
            _log.error("requests wait for over %.0f s, and no worker takes any; %s are replaced", seconds, pids)
            for pid in pids:
                self._replace(pid, ours[pid])

    def _replace(self, pid: int, row: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        # A process that waits for a disk does not die before the disk answers. Another takes its place now, and what
        # the dying one may take meanwhile is sent again when it is reaped.
        del self.children[pid]
        self._stuck.add(pid)
        self.mounted.counters.row(row)[shared.BUSY_SINCE] = 0
        self.restarts += 1
        self._fork(row)
        self._resend()


def _ignore(signum: int, frame: object) -> None:
    """Do nothing: the number arrives through the wakeup descriptor."""
