"""A server made ahead of its order: it imports what it will need while its maker finds out what is to be served.

A command *starts* one by exec, before it imports much itself. The overlay's server, which needs another server for the
version below, *forks* one before it opens anything or starts a thread: what a starting process has imported needs not
be imported again. Without an order a spare server ends with its maker.

Used by the command line and by the overlay's server; `launch` gives orders. It imports little, so that a command can
begin with it.

Threading: `start_spare` anywhere; `fork_spare` in a process with one thread, which holds no lock and has no LMDB
environment open.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, Self

from artifactfs.mount.environment import server_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from artifactfs.mount.orders import Order

_log = logging.getLogger(__name__)
MODULE: Final = "artifactfs.mount.daemon"
SPARE: Final = "--spare"


class Taker(Protocol):
    """Whatever starts a server for an order faster than a fresh process would: a `Spare` once, a `forker` often."""

    def take(self, order: Order, *, log: str) -> int | None:
        """Let a server begin; return the descriptor on which it says that it is ready, None if it cannot."""


class Spare:
    """A server without an order. A context manager: it ends if it was not taken.

    Threading: one thread.
    """

    def __init__(self, orders: int, ready: int, *, starter: subprocess.Popen[bytes] | None = None) -> None:
        """Take the writing end of the pipe for the order, and the reading end of the one on which it says ready.

        Args:
            orders: the one descriptor.
            ready: the other.
            starter: the process that it leaves as soon as it runs.
        """
        self._orders = orders
        self._ready = ready
        self._starter = starter

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it end if it was not taken."""
        self.close()

    @property
    def is_waiting(self) -> bool:
        """Whether it has neither been taken nor closed."""
        return self._orders >= 0

    def take(self, order: Order, *, log: str) -> int | None:
        """Let it serve an order; return the descriptor on which it says that it is ready, None when it is gone.

        Args:
            order: what to serve; it must not be in the foreground, nor on a descriptor of its maker.
            log: path of the file that takes what it says before it has opened its own.
        """
        if self._orders < 0:
            return None
        self._reap()
        try:
            with os.fdopen(self._orders, "wb", closefd=True) as pipe:
                self._orders = -1
                pipe.write(encode_message(order, log=log))
        except BrokenPipeError:
            return None
        ready, self._ready = self._ready, -1
        return ready

    def close(self) -> None:
        """Let it end if it was not taken."""
        for descriptor in (self._orders, self._ready):
            if descriptor >= 0:
                os.close(descriptor)
        self._orders = self._ready = -1
        self._reap()

    def _reap(self) -> None:
        if self._starter is not None:
            self._starter.wait()
            self._starter = None


def start_spare(kind: str) -> Spare:
    """Start a server without an order, in a process of its own, which has the environment of this one as it is now.

    Args:
        kind: of the order that is to come.
    """
    orders_reading, orders_writing = os.pipe()
    ready_reading, ready_writing = os.pipe()
    try:
        starter = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, SPARE, kind, str(orders_reading), str(ready_writing)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=server_environment(),
            pass_fds=[orders_reading, ready_writing],
            start_new_session=True,
        )
    except BaseException:
        os.close(orders_writing)
        os.close(ready_reading)
        raise
    finally:
        os.close(orders_reading)
        os.close(ready_writing)
    return Spare(orders_writing, ready_reading, starter=starter)


def fork_spare(order: Order, *, load: Callable[[], None], serve: Callable[[Order], int]) -> Spare:
    """Fork a server without an order.

    Args:
        order: of this process; the spare one does not keep the pipe on which it says ready.
        load: imports what will be needed.
        serve: serves an order, after having left its parent, and returns the exit code.
    """
    orders_reading, orders_writing = os.pipe()
    ready_reading, ready_writing = os.pipe()

    def run() -> int:
        os.close(orders_writing)
        os.close(ready_reading)
        if order.ready_descriptor is not None:
            os.close(order.ready_descriptor)
        return wait_and_serve(orders_reading, ready_writing, load=load, serve=serve)

    fork_away(run)
    os.close(orders_reading)
    os.close(ready_writing)
    return Spare(orders_writing, ready_reading)


def fork_away(run: Callable[[], int]) -> None:
    """Let a process that is nobody's child do something; it ends with what `run` returns. Return when it has begun."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    status = 1
    try:
        if os.fork():
            os._exit(0)
        os.setsid()
        status = run()
    except BaseException:  # noqa: BLE001 - it must not go on as its maker
        _log.exception("the server ends by an error")
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)


def wait_and_serve(orders: int, ready: int, *, load: Callable[[], None], serve: Callable[[Order], int]) -> int:
    """Be a spare server: load, wait for the order, serve it, and return the exit code; 0 when none comes.

    Args:
        orders: the reading end of the pipe for the order.
        ready: the writing end of the pipe on which it says that it is ready.
        load: as of `fork_spare`.
        serve: as well; this process has left its parent already.
    """
    load()
    with os.fdopen(orders, "rb") as pipe:
        message = pipe.read()
    if not message:
        return 0
    order, log = decode_message(message)
    say_into(log)
    return serve(order.with_ready(ready))


def encode_message(order: Order, *, log: str) -> bytes:
    """Return what a server that waits is told."""
    return f"{log}\0{order.encode()}".encode("utf-8", "surrogateescape")


def decode_message(message: bytes) -> tuple[Order, str]:
    """Return the order and the path of the log."""
    from artifactfs.mount.orders import Order  # noqa: PLC0415 (who starts one begins without it)

    log, _, text = message.decode("utf-8", "surrogateescape").partition("\0")
    return Order.decode(text), log


def say_into(log: str) -> None:
    """Let what this process says go to a file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(OSError):
        for number in (1, 2):
            os.dup2(descriptor, number)
    os.close(descriptor)
