"""Unix sockets at paths of any length.

An address holds 107 bytes. A longer path is reached through its directory, opened and named `/proc/self/fd/N`.

Used by all that listens or connects. Threading: pure functions. Source: unix(7), proc_pid_fd(5).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

SOCKET_PATH_LIMIT: Final = 107
"""Bytes of an address. Source: unix(7)."""


def bind_socket(listener: socket.socket, path: str) -> None:
    """Make a socket at a path, where nothing may be.

    Raises:
        OSError: it cannot be made.
    """
    with _address(path) as address:
        listener.bind(address)


def connect_socket(connection: socket.socket, path: str) -> None:
    """Connect to the socket at a path.

    Raises:
        OSError: there is none, nobody listens, or it may not be written to.
    """
    with _address(path) as address:
        connection.connect(address)


@contextmanager
def _address(path: str) -> Iterator[str]:
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT or not hasattr(os, "O_PATH"):
        yield path
        return
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
