"""A process started ahead that forks one server for each order: what servers import is imported once for all of them.

Used by the CSI plugin, whose volumes may come one right after the other; `launch` gives orders. A command, which has
one order, starts a `spare` server instead.

Threading: `start_forker` anywhere. The forker itself has one thread and no LMDB environment.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from artifactfs.mount.environment import server_environment
from artifactfs.mount.spare import MODULE, decode_message, encode_message, fork_away, say_into

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.orders import Order

FORKER: Final = "--forker"
_MESSAGE_LIMIT: Final = 1 << 18


class Forker:
    """A process that forks servers.

    Threading: one thread.
    """

    def __init__(self, channel: socket.socket, starter: subprocess.Popen[bytes]) -> None:
        """Take the channel to it, and the process that it leaves as soon as it runs."""
        self._channel: socket.socket | None = channel
        self._starter: subprocess.Popen[bytes] | None = starter

    @property
    def is_waiting(self) -> bool:
        """Whether it has neither been closed nor found to be gone."""
        return self._channel is not None

    def take(self, order: Order, *, log: str) -> int | None:
        """Let it fork a server; return the descriptor on which that says that it is ready, None if the forker is gone.

        Args:
            order: what to serve; it must not be in the foreground, nor on a descriptor of its maker.
            log: path of the file that takes what the server says before it has opened its own.
        """
        if self._channel is None:
            return None
        reading, writing = os.pipe()
        try:
            socket.send_fds(self._channel, [encode_message(order, log=log)], [writing])
        except OSError:
            os.close(reading)
            self.close()
            return None
        finally:
            os.close(writing)
        return reading

    def close(self) -> None:
        """Let it end; what it has forked goes on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._starter is not None:
            self._starter.wait()
            self._starter = None


def start_forker(kind: str) -> Forker:
    """Start a process that forks servers of a kind, with the environment of this one as it is now.

    Raises:
        OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            starter = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, FORKER, kind, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=server_environment(),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    return Forker(ours, starter)


def fork_servers(descriptor: int, *, load: Callable[[], None], serve: Callable[[Order], int]) -> int:
    """Be a forker: load, fork a server for each order, and return 0 when whoever gives orders is gone.

    Args:
        descriptor: the channel.
        load: imports what servers will need.
        serve: serves an order and returns the exit code.
    """
    load()
    with socket.socket(fileno=descriptor) as channel:
        while True:
            message, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE_LIMIT, 1)
            if not message:
                return 0
            ready = descriptors[0]

            def run(message: bytes = message, ready: int = ready) -> int:
                channel.close()
                order, log = decode_message(message)
                say_into(log)
                return serve(order.with_ready(ready))

            fork_away(run)
            os.close(ready)
