"""Telling a service manager what happens, and leaving descriptors with it.

Used by `daemon` and `kept`. Threading: one thread.

Source: sd_notify(3), sd_pid_notify_with_fds(3): one datagram holds lines `NAME=VALUE`, and descriptors beside them.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_log = logging.getLogger(__name__)
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


@dataclass(frozen=True, slots=True)
class Manager:
    """Who started this server, and what an earlier one left.

    Attributes:
        address: path of the manager's socket, or `@` and an abstract name; empty when there is none.
        descriptor: a socket that leads to the manager; it is used instead of the address.
        kept: number of each descriptor that an earlier server left, by name.
    """

    address: str = ""
    descriptor: int | None = None
    kept: dict[str, int] = field(default_factory=dict)


def tell(manager: Manager | None, *lines: str, descriptors: Sequence[int] = ()) -> bool:
    """Send a message; return whether it was taken. That nobody listens is noted in the log, and no error."""
    if manager is None or not (manager.address or manager.descriptor is not None):
        return False
    try:
        with _connected(manager) as channel:
            socket.send_fds(channel, ["\n".join(lines).encode()], list(descriptors))
    except OSError as error:
        _log.warning("the service manager does not listen: %s", error.strerror or error)
        return False
    return True


def _connected(manager: Manager) -> socket.socket:
    if manager.descriptor is not None:
        return socket.socket(fileno=os.dup(manager.descriptor))
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        address = manager.address
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
    except BaseException:
        channel.close()
        raise
    return channel


def keep(manager: Manager | None, name: str, descriptor: int) -> bool:
    """Leave a descriptor with the manager, in place of any that has this name; return whether it was taken."""
    drop(manager, name)
    return tell(manager, "FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", descriptors=[descriptor])


def drop(manager: Manager | None, name: str) -> None:
    """Have the manager close what it keeps under a name."""
    tell(manager, "FDSTOREREMOVE=1", f"FDNAME={name}")


def parse_listening(names: str, count: int, first: int = 3) -> dict[str, int]:
    """Return what a manager hands over, by name.

    >>> parse_listening("artifactfs-device:artifactfs-handover:other", 3)
    {'artifactfs-device': 3, 'artifactfs-handover': 4, 'other': 5}
    """
    return {name: first + index for index, name in enumerate(names.split(":")[:count])}
