"""Listening on the socket in a mount: each connection goes to a process of its own.

Used by `keeper`. Threading: belongs to one thread.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError, BusyError
from artifactfs.mount.control import encode_error, encode_line
from artifactfs.mount.port.place import SOCKET, prepare
from artifactfs.mount.sockets import bind_socket

if TYPE_CHECKING:
    from artifactfs.mount.orders import Order

MODULE: Final = "artifactfs.mount.port.work"
PROCESS_LIMIT: Final = 8
"""Requests at one time; the next one is told to come back."""
_BACKLOG: Final = 64
_log = logging.getLogger(__name__)


class Listener:
    """Listens for as long as it is not closed. Belongs to one thread."""

    def __init__(self, order: Order, *, repository_id: str) -> None:
        self._order = order
        self._repository_id = repository_id
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._working: list[subprocess.Popen[bytes]] = []

    def open(self) -> bool:
        """Listen, in place of an earlier process; return False where no tmpfs can be mounted."""
        try:
            folder = prepare(self._order, self._order.mountpoint)
            if folder is None:
                return False
            self._listen(folder)
        except (OSError, ArtifactFSError) as error:
            _log.warning("there is no socket for containers: %s", error)
            return False
        return True

    def _listen(self, folder: str) -> None:
        path = os.path.join(folder, SOCKET)
        made = f"{path}.new"
        with suppress(FileNotFoundError):
            os.unlink(made)
        bind_socket(self._socket, made)
        # Anybody may connect: who may do what is asked of the kernel, for each request.
        os.chmod(made, 0o666)  # noqa: S103 - as it says
        self._socket.listen(_BACKLOG)
        self._socket.setblocking(False)  # noqa: FBT003 - the only way to say it
        os.rename(made, path)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when somebody connects."""
        return self._socket.fileno()

    def accept(self) -> None:
        """Give each connection that waits to a process of its own."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self._hand_over(connection)

    def _hand_over(self, connection: socket.socket) -> None:
        self._working = [process for process in self._working if process.poll() is None]
        if len(self._working) >= PROCESS_LIMIT:
            error = BusyError("too many requests at one time", hint="run the same command again")
            with suppress(OSError):
                connection.settimeout(0)
                connection.sendall(encode_line(encode_error(error)))
            return
        descriptor = connection.fileno()
        command = [sys.executable, "-P", "-m", MODULE, self._order.encode(), self._repository_id, str(descriptor)]
        self._working.append(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], cwd="/", start_new_session=True)
        )

    def close(self) -> None:
        """Stop listening; what is under way goes on."""
        self._socket.close()
