"""The service manager of `mount --keep`: one small process that keeps descriptors and starts the server again.

It speaks the same protocol as systemd (`manager`), through a socketpair that only its server has.

Threading: one thread. Source: docs/design/containers.md.
"""

from __future__ import annotations

import array
import logging
import os
import select
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from artifactfs.mount.mountpoint import clear_dead
from artifactfs.mount.service.manager import Manager

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.orders import Order

_log = logging.getLogger(__name__)
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT)
_MESSAGE_LIMIT: Final = 4096
_DESCRIPTOR_LIMIT: Final = 16
_TICK_MILLISECONDS: Final = 1000
_SHORT_SECONDS: Final = 10.0
"""A server that lived shorter than this has failed to start."""
FAILURE_LIMIT: Final = 6
_PAUSE_SECONDS: Final = 0.05


class Minder:
    """Keeps one server alive.

    Threading: one thread, which is the only one of its process.
    """

    def __init__(self, order: Order, *, command_for: Callable[[Order], list[str]]) -> None:
        """Store what to serve, and how a server's command line is made."""
        self._order = replace(order, keep=False, minded=True)
        self._command_for = command_for
        self._kept: dict[str, int] = {}
        self._failures = 0
        self._is_ready = False
        self._is_ended = False
        self._server: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Serve until the server ends by itself; return its exit code."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            for number in _FORWARDED:
                signal.signal(number, self._forward)
            while True:
                status = self._serve_once(ours, theirs)
                if status == 0 or self._is_ended or not self._may_go_on():
                    return status if status >= 0 else 128 - status
                _log.warning("the server of %s ended with %d; it is started again", self._order.mountpoint, status)

    def _serve_once(self, ours: socket.socket, theirs: socket.socket) -> int:
        """Run a server to its end; return its status as `subprocess` gives it."""
        order = replace(self._order, manager=Manager(descriptor=theirs.fileno(), kept=dict(self._kept)))
        passed = [theirs.fileno(), *self._kept.values()]
        for number in (order.ready_descriptor, order.descriptor):
            passed += [] if number is None else [number]
        begun = time.monotonic()
        self._server = subprocess.Popen(self._command_for(order), stdin=subprocess.DEVNULL, pass_fds=passed, cwd="/")
        self._forget_first()
        alive = os.pidfd_open(self._server.pid)
        try:
            self._listen(ours, alive)
        finally:
            os.close(alive)
        status = self._server.wait()
        self._failures = self._failures + 1 if time.monotonic() - begun < _SHORT_SECONDS else 0
        return status

    def _forget_first(self) -> None:
        """Close what is meant for the first server alone, and hold nobody up who waits for it."""
        for number in (self._order.ready_descriptor, self._order.descriptor):
            if number is not None:
                os.close(number)
        self._order = replace(self._order, ready_descriptor=None, descriptor=None)

    def _listen(self, ours: socket.socket, alive: int) -> None:
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        poll.register(alive, select.POLLIN)
        while True:
            ready = {number for number, _ in poll.poll(_TICK_MILLISECONDS)}
            if ours.fileno() in ready:
                self._take(ours)
            elif alive in ready:
                return

    def _take(self, ours: socket.socket) -> None:
        data, descriptors = _receive(ours)
        fields = dict(line.partition("=")[::2] for line in data.decode(errors="replace").splitlines())
        self._is_ready |= fields.get("READY") == "1"
        name = fields.get("FDNAME", "")
        if fields.get("FDSTOREREMOVE") == "1" and name in self._kept:
            os.close(self._kept.pop(name))
        if fields.get("FDSTORE") == "1" and descriptors:
            self._kept[name] = descriptors.pop()
        for number in descriptors:
            os.close(number)

    def _may_go_on(self) -> bool:
        """Return whether another server is to be started; without a kept descriptor the dead mount is cleared."""
        if not self._is_ready or self._failures >= FAILURE_LIMIT:
            self._give_up()
            return False
        if not self._kept:
            clear_dead(self._order.mountpoint)
        time.sleep(_PAUSE_SECONDS * self._failures)
        return True

    def _give_up(self) -> None:
        """End the mount: an error is better than waiting for ever."""
        for number in self._kept.values():
            os.close(number)
        self._kept.clear()
        with suppress(Exception):
            clear_dead(self._order.mountpoint)

    def _forward(self, number: int, frame: object) -> None:
        del frame
        self._is_ended = True
        if self._server is not None:
            self._server.send_signal(number)


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Return one message and the descriptors that came with it, which no exec inherits."""
    room = socket.CMSG_SPACE(_DESCRIPTOR_LIMIT * array.array("i").itemsize)
    data, ancillary, _, _ = channel.recvmsg(_MESSAGE_LIMIT, room, socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, part in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(part[: len(part) - len(part) % found.itemsize])
    return data, list(found)
