"""The control socket of a supervisor: the protocol of `mount.control`, answered without threads.

Threading: the supervisor's one thread. A client that sends half a line waits alone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from artifactfs.mount.control import answer_line, listen_at

if TYPE_CHECKING:
    from artifactfs.mount.control import Session

    Adder = Callable[[socket.socket, Callable[[], None]], None]
    Remover = Callable[[socket.socket], None]

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
        self._add: Adder | None = None
        self._remove: Remover | None = None

    def open(self, add: Adder, remove: Remover) -> None:
        """Listen; `add` and `remove` say what the supervisor waits for.

        Raises:
            MountError: the socket cannot be made.
        """
        listen_at(self._listener, self._path)
        self._add, self._remove = add, remove
        add(self._listener, self._accept)

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(_ANSWER_SECONDS)
        session, held = self._make_session(), bytearray()
        if self._add is not None:
            self._add(connection, lambda: self._take(connection, session, held))

    def _take(self, connection: socket.socket, session: Session, held: bytearray) -> None:
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
            if self._remove is not None:
                self._remove(connection)
            session.close()
            connection.close()
