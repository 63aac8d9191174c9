"""What the children of a supervisor run: a worker, or the notifier. Everything is opened here, after the fork.

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
from artifactfs.mount.kernel.negotiation import Negotiated
from artifactfs.mount.kernel.notifier import Notifier
from artifactfs.mount.kernel.requests import Requests
from artifactfs.mount.kernel.settings import ServeSettings
from artifactfs.mount.kernel.shared import SharedCounters
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
    """

    settings: ServeSettings
    agreed: Negotiated
    device: int
    counters: SharedCounters
    backings: BackingTable


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
    buffers = Buffers(mounted.agreed.max_read)
    with closing(mounted.settings.source.open_source()) as source, closing(Contents(source)) as contents:
        handlers = Requests(source, buffers=buffers, contents=contents).handlers()
        if mounted.settings.passthrough:
            handlers.update(Passthrough(device, source, buffers=buffers, table=mounted.backings).handlers())
        wakeups = Wakeups(hasten=mounted.settings.quick_wakeups)
        ended = Worker(device, buffers=buffers, handlers=handlers, row=row, wakeups=wakeups).run()
    return ENDED if ended else STOPPED


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
