"""What the children of a supervisor run: a worker, the fetcher, or the notifier.

Everything is opened here, after the fork.

Threading: one thread in a process of its own.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from artifactfs.mount.kernel import shared
from artifactfs.mount.kernel.backing_table import BackingTable
from artifactfs.mount.kernel.backings import Passthrough
from artifactfs.mount.kernel.buffers import Buffers
from artifactfs.mount.kernel.codes import InitFlag
from artifactfs.mount.kernel.contents import Contents
from artifactfs.mount.kernel.device import clone_device
from artifactfs.mount.kernel.errands import ErrandPipe
from artifactfs.mount.kernel.fetcher import Fetcher
from artifactfs.mount.kernel.negotiation import Negotiated
from artifactfs.mount.kernel.notifier import Notifier
from artifactfs.mount.kernel.requests import Requests
from artifactfs.mount.kernel.settings import ServeSettings
from artifactfs.mount.kernel.shared import SharedCounters
from artifactfs.mount.kernel.structures import IN_HEADER, READ_IN
from artifactfs.mount.kernel.worker import Worker
from artifactfs.mount.wakeups import Wakeups


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount as its processes share it.

    Attributes:
        settings: how to serve it.
        agreed: the result of INIT.
        device: descriptor of `/dev/fuse`.
        counters: the shared counters.
        backings: the table of backing files.
        errands: leads to the fetcher; None when there is none.
    """

    settings: ServeSettings
    agreed: Negotiated
    device: int
    counters: SharedCounters
    backings: BackingTable
    errands: ErrandPipe | None = None


ENDED: Final = 0
"""Exit status: the mount has ended, or there is nothing to do."""
STOPPED: Final = 15
"""Exit status: SIGTERM came."""


def run_worker(mounted: Mounted, index: int) -> int:
    """Answer requests as worker number `index` until the mount ends; return the exit status."""
    row = mounted.counters.row(index)
    row[shared.BUSY_SINCE], row[shared.PID] = 0, os.getpid()
    device = mounted.device
    if not mounted.agreed.has(InitFlag.HAS_RESEND):
        device = clone_device(mounted.device)
    buffers, errands = Buffers(mounted.agreed.max_read), mounted.errands

    def tell() -> None:
        if errands is not None:
            errands.send(buffers.request[: IN_HEADER.size + READ_IN.size], wants_answer=False)

    with (
        closing(mounted.settings.source.open_source()) as source,
        closing(Contents(source, tell=tell if errands is not None else None)) as contents,
    ):
        handlers = Requests(source, buffers=buffers, contents=contents, errands=errands).handlers()
        if mounted.settings.passthrough:
            handlers.update(Passthrough(device, source, buffers=buffers, table=mounted.backings).handlers())
        wakeups = Wakeups(hasten=mounted.settings.quick_wakeups)
        worker = Worker(device, buffers=buffers, handlers=handlers, row=row, wakeups=wakeups, errands=errands)
        ended = worker.run()
    return ENDED if ended else STOPPED


def run_fetcher(mounted: Mounted, index: int) -> int:
    """Answer what workers cannot without a network, until this process is ended."""
    row = mounted.counters.row(index)
    row[shared.BUSY_SINCE], row[shared.PID] = 0, os.getpid()
    if mounted.errands is None:
        return ENDED
    Fetcher(mounted, mounted.errands, row=row).run()
    return STOPPED


def run_notifier(mounted: Mounted, index: int) -> int:
    """Tell the kernel what moves outside of versions until the mount ends; return the exit status."""
    row = mounted.counters.row(index)
    row[shared.BUSY_SINCE], row[shared.PID] = 0, os.getpid()
    changes = mounted.settings.source.open_changes()
    if changes is not None:
        with closing(changes):
            expires = mounted.agreed.has(InitFlag.HAS_EXPIRE_ONLY)
            Notifier(mounted.device, changes, row=row, expires=expires).run()
    return ENDED
