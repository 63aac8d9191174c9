"""Where the metrics of a mount may go: a file, or a port of this machine alone.

Used by `beginning`, before anything is mounted, and by the kernel transport. Threading: functions without state.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from artifactfs.errors import ConfigurationError

LOOPBACK: Final = "127.0.0.1"
_PORTS: Final = range(1, 1 << 16)
_HINT: Final = f"metrics go to a file or to {LOOPBACK}:PORT, with a port from 1 to 65535"


def split_address(target: str) -> tuple[str, int] | None:
    """Return host and port of a target; None for a file.

    >>> split_address("127.0.0.1:9100")
    ('127.0.0.1', 9100)

    Raises:
        ConfigurationError: it is an address that metrics do not go to.
    """
    host, colon, port = target.rpartition(":")
    if not colon or "/" in target:
        return None
    if host != LOOPBACK or not (port.isascii() and port.isdigit()) or int(port[:6]) not in _PORTS:
        msg = f"metrics do not go to {target}"
        raise ConfigurationError(msg, hint=_HINT)
    return host, int(port)


def place_target(target: str) -> str:
    """Return a target as a server takes it, whose working directory is another; empty for none.

    Raises:
        ConfigurationError: it is an address that metrics do not go to.
    """
    return target if not target or split_address(target) else os.path.abspath(target)


def check_target(target: str, *, mountpoint: str) -> None:
    """Return if something can be given out at what `place_target` returned, by the server of a mount.

    Raises:
        ConfigurationError: the port is taken, or the file cannot be written or lies in that mount: who serves it would
            wait for himself.
    """
    address = split_address(target)
    if address is not None:
        _check_port(address)
    elif target:
        # First by name alone: somebody else may have mounted it already, and nobody answers yet.
        if _is_inside(target, mountpoint) or _is_inside(os.path.realpath(os.path.dirname(target)), mountpoint):
            msg = f"metrics cannot be written to {target}: it is in the mount that they are of"
            raise ConfigurationError(msg, hint=_HINT, subject=target)
        _check_file(target)


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _check_port(address: tuple[str, int]) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            msg = f"metrics cannot be given out on {address[0]}:{address[1]}: {error.strerror}"
            raise ConfigurationError(msg, hint="choose another port") from error


def _check_file(path: str) -> None:
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        reason = "it is a directory"
    elif not os.path.isdir(folder):
        reason = f"there is no directory {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder} cannot be written to"
    else:
        return
    msg = f"metrics cannot be written to {path}: {reason}"
    raise ConfigurationError(msg, hint=_HINT, subject=path)
