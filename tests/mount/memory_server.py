"""The daemon with a view out of memory: `python memory_server.py ORDER`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from artifactfs.mount.daemon import Daemon, InfoSession, Served, detach_from_caller
from artifactfs.mount.orders import Order


def build(stack: ExitStack, order: Order, on_ready: Callable[[], None]) -> Served:
    from artifactfs.mount.fusepy.reading import ReadOperations
    from artifactfs.mount.fusepy.transport import read_only_options
    from tests.mount.memory_view import SAMPLE, MemoryView

    view = MemoryView(SAMPLE)
    operations = ReadOperations(
        view,
        details=view,
        uid=os.getuid() if order.uid is None else order.uid,
        gid=os.getgid() if order.gid is None else order.gid,
        on_ready=on_ready,
    )
    return Served(
        operations,
        read_only_options(allow_other=order.allow_other),
        InfoSession,
        repository_id="0" * 32,
        location=order.repository,
    )


if __name__ == "__main__":
    order = Order.decode(sys.argv[1])
    if not order.foreground:
        detach_from_caller()
    sys.exit(Daemon(order, build=build).run())
