"""A server forked ahead of its order: what a starting process has imported needs not be imported again.

Used by the overlay's server, which needs another server for the version below. It is forked before that process opens
anything or starts a thread, imports what it will need while its maker looks at the staging directory, and is then told
what to serve. Without an order it ends with its maker.

Threading: `prepare_spare` in a process with one thread, which holds no lock and has no LMDB environment open.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from artifactfs.mount.orders import Order

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class Spare:
    """A server without an order.

    Threading: one thread.
    """

    def __init__(self, orders: int, ready: int) -> None:
        """Take the writing end of the pipe for the order, and the reading end of the one on which it says ready."""
        self._orders = orders
        self._ready = ready

    def take(self, order: Order, *, log: str) -> int | None:
        """Let it serve an order; return the descriptor on which it says that it is ready, None when it is gone.

        Args:
            order: what to serve; it must not be in the foreground.
            log: path of the file that takes what it says before it has opened its own.
        """
        if self._orders < 0:
            return None
        try:
            with os.fdopen(self._orders, "wb", closefd=True) as pipe:
                self._orders = -1
                pipe.write(f"{log}\0{order.encode()}".encode("utf-8", "surrogateescape"))
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


def prepare_spare(order: Order, *, load: Callable[[], None], serve: Callable[[Order], int]) -> Spare:
    """Fork a server without an order.

    Args:
        order: of this process; the spare one does not keep the pipe on which it says ready.
        load: imports what will be needed.
        serve: serves an order, after having left its parent, and returns the exit code.
    """
    orders_reading, orders_writing = os.pipe()
    ready_reading, ready_writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(orders_writing)
        os.close(ready_reading)
        if order.ready_descriptor is not None:
            os.close(order.ready_descriptor)
        _wait_and_serve(orders_reading, ready_writing, load, serve)
    os.close(orders_reading)
    os.close(ready_writing)
    os.waitpid(pid, 0)
    return Spare(orders_writing, ready_reading)


def _wait_and_serve(orders: int, ready: int, load: Callable[[], None], serve: Callable[[Order], int]) -> NoReturn:
    """Become nobody's child in a session of its own, wait for the order, and serve it."""
    status = 1
    try:
        if os.fork():
            os._exit(0)
        os.setsid()
        load()
        with os.fdopen(orders, "rb") as pipe:
            log, _, text = pipe.read().decode("utf-8", "surrogateescape").partition("\0")
        status = 0
        if text:
            _say_into(log)
            status = serve(dataclasses.replace(Order.decode(text), ready_descriptor=ready))
    except BaseException:  # noqa: BLE001 - it must not go on as its maker
        _log.exception("the server ends by an error")
        status = 1
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)


def _say_into(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(OSError):
        for number in (1, 2):
            os.dup2(descriptor, number)
    os.close(descriptor)
