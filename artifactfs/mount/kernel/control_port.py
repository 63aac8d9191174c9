"""The control socket of a supervisor: the protocol of `mount.control`, answered without threads.

Threading: the supervisor's one thread. A client that sends half a line waits alone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.mount.control import answer_line, listen_at

if TYPE_CHECKING:
    from artifactfs.mount.control import Session

    Adder = Callable[[socket.socket, Callable[[], None]], None]
    Remover = Callable[[socket.socket], None]

CONNECTION_LIMIT: Final = 64
"""So many may be open; one more, and the oldest is closed: descriptors are not for those who keep what they opened."""
_LINE_LIMIT: Final = 1 << 16
_ANSWER_SECONDS: Final = 1.0


class ControlPort:
    """Answers on a socket while the supervisor runs.

    Threading: one thread.
    """

    def __init__(self, path: str, make_session: Callable[[], Session]) -> None:
        """Store where to listen, and what makes the session of a connection."""
        self._path = path
        self._make_session = make_session
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sessions: dict[socket.socket, tuple[Session, bytearray]] = {}
        """What each connection is, and has sent; the oldest first."""
        self._add: Adder | None = None
        self._remove: Remover | None = None

    def open(self, add: Adder, remove: Remover) -> None:
        """Listen; `add` and `remove` say what the supervisor waits for.

        Raises:
            MountError: the socket cannot be made.
        """
        listen_at(self._listener, self._path)
        self._listener.settimeout(0)
        self._add, self._remove = add, remove
        add(self._listener, self._accept)

    def close(self) -> None:
        """End all connections, and stop listening."""
        for connection in list(self._sessions):
            self._end(connection)
        self._forgo(self._listener)

    def _accept(self) -> None:
        if len(self._sessions) >= CONNECTION_LIMIT:
            self._end(next(iter(self._sessions)))
        with suppress(OSError):  # who came is gone, or there is no descriptor left: he asks again
            connection, _ = self._listener.accept()
            connection.settimeout(_ANSWER_SECONDS)
            self._sessions[connection] = self._make_session(), bytearray()
            if self._add is not None:
                self._add(connection, lambda: self._take(connection))

    def _take(self, connection: socket.socket) -> None:
        if connection not in self._sessions:
            return  # closed a moment ago
        session, held = self._sessions[connection]
        try:
            data = connection.recv(_LINE_LIMIT)
            held += data
            while b"\n" in held:
                line, _, rest = bytes(held).partition(b"\n")
                held[:] = rest
                connection.sendall(answer_line(session, line))
        except OSError:
            data = b""
        if not data or len(held) > _LINE_LIMIT:
            self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        session, _ = self._sessions.pop(connection)
        session.close()
        self._forgo(connection)

    def _forgo(self, one: socket.socket) -> None:
        if self._remove is not None:
            with suppress(KeyError, ValueError):  # a supervisor that has ended waits for nothing
                self._remove(one)
        one.close()
