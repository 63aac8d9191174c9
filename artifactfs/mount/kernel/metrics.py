"""Giving the Prometheus text of a mount out: in a file, or on a port of this machine alone.

Nothing here ends a mount: what cannot be opened or written is logged once and tried again every second.

Threading: the supervisor's one thread, which waits for no client.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ConfigurationError
from artifactfs.mount.kernel.figures import format_prometheus
from artifactfs.mount.metrics_target import split_address

if TYPE_CHECKING:
    from contextlib import ExitStack

    from artifactfs.mount.kernel.supervisor import Supervisor

_log = logging.getLogger(__name__)
REQUEST_LIMIT: Final = 16 << 10
CONNECTION_LIMIT: Final = 64
"""So many clients may have said nothing yet; one more, and the oldest is sent away."""
PATIENCE_SECONDS: Final = 5.0
_SEND_BYTES: Final = 1 << 18
"""Room for a whole answer, so that sending it never waits; the kernel doubles it."""
_HEAD: Final = "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n"


class MetricsWriter:
    """Gives the text out.

    Threading: the supervisor's one thread.
    """

    def __init__(self, supervisor: Supervisor, target: str) -> None:
        """Store where to: an absolute path, or `127.0.0.1:PORT`."""
        self._supervisor = supervisor
        self._target = target
        self._address = split_address(target)
        self._listener: socket.socket | None = None
        self._clients: dict[socket.socket, tuple[float, bytearray]] = {}
        """When each came, and what it has sent; the oldest first."""
        self._has_failed = False
        self._due = 0.0
        self._is_closed = False

    def start(self) -> None:
        """Begin, and go on once a second."""
        self._tick()
        self._supervisor.add_tick(self._tick)

    def close(self) -> None:
        """Give nothing out any more."""
        self._is_closed = True
        for client in list(self._clients):
            self._send_away(client)
        if self._listener is not None:
            self._close(self._listener)

    def _tick(self) -> None:
        if self._is_closed:
            return
        now = time.monotonic()
        for client, (came, _) in list(self._clients.items()):
            if now - came > PATIENCE_SECONDS:
                self._send_away(client)
        if now < self._due or self._listener is not None:
            return
        self._due = now + 1.0
        try:
            self._write() if self._address is None else self._listen(self._address)
        except OSError as error:
            if not self._has_failed:
                _log.error("no metrics at %s: %s; it is tried again", self._target, error.strerror or error)
            self._has_failed = True
        else:
            if self._has_failed:
                _log.info("metrics are at %s now", self._target)
            self._has_failed = False

    def _write(self) -> None:
        temporary = f"{self._target}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(format_prometheus(self._supervisor))
        os.replace(temporary, self._target)

    # The port

    def _listen(self, address: tuple[str, int]) -> None:
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)  # which connections inherit
            listener.settimeout(0)
            listener.bind(address)
            listener.listen(CONNECTION_LIMIT)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._supervisor.add_reader(listener, self._accept)

    def _accept(self) -> None:
        if self._listener is None:
            return
        if len(self._clients) >= CONNECTION_LIMIT:
            self._send_away(next(iter(self._clients)))
        with suppress(OSError):
            client, _ = self._listener.accept()
            client.settimeout(0)
            self._clients[client] = time.monotonic(), bytearray()
            self._supervisor.add_reader(client, lambda: self._take(client))

    def _take(self, client: socket.socket) -> None:
        if client not in self._clients:
            return  # sent away a moment ago
        held = self._clients[client][1]
        try:
            data = client.recv(REQUEST_LIMIT)
            held += data
            is_whole = b"\r\n\r\n" in held or b"\n\n" in held
            if is_whole:
                body = format_prometheus(self._supervisor).encode()
                client.send(_HEAD.format(len(body)).encode() + body)
        except BlockingIOError:
            return
        except OSError:
            data = b""
            is_whole = True
        if not data or is_whole or len(held) > REQUEST_LIMIT:
            self._send_away(client)

    def _send_away(self, client: socket.socket) -> None:
        del self._clients[client]
        self._close(client)

    def _close(self, one: socket.socket) -> None:
        with suppress(KeyError, ValueError):  # a supervisor that has ended waits for nothing
            self._supervisor.remove_reader(one)
        one.close()


def start_metrics(supervisor: Supervisor, target: str, *, stack: ExitStack) -> None:
    """Give metrics out as long as a stack lasts. Whoever mounted was told of a wrong target; now it ends nothing."""
    try:
        writer = MetricsWriter(supervisor, target)
    except ConfigurationError as error:
        _log.error("%s", error)
        return
    stack.callback(writer.close)
    writer.start()
