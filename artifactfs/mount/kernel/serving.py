"""What the children of a supervisor run: a worker, the fetcher, or the notifier.

Everything is opened here, after the fork.

Threading: one thread in a process of its own.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from artifactfs.errors import ArtifactFSError
from artifactfs.mount.kernel import shared
from artifactfs.mount.kernel.backing_table import BackingTable
from artifactfs.mount.kernel.backings import Passthrough
from artifactfs.mount.kernel.buffers import Buffers
from artifactfs.mount.kernel.codes import InitFlag
from artifactfs.mount.kernel.contents import Contents
from artifactfs.mount.kernel.device import clone_device
from artifactfs.mount.kernel.errands import ErrandPipe
from artifactfs.mount.kernel.fetcher import Fetcher
from artifactfs.mount.kernel.mounting import DEVICE
from artifactfs.mount.kernel.negotiation import Negotiated
from artifactfs.mount.kernel.notifier import Notifier
from artifactfs.mount.kernel.renewal import DAMAGED, UNOPENED, DamagedError, LostSource
from artifactfs.mount.kernel.requests import Requests
from artifactfs.mount.kernel.settings import ServeSettings
from artifactfs.mount.kernel.shared import SharedCounters
from artifactfs.mount.kernel.source import ChangeSource, Source
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
        may_renew: whether a child that finds its epoch damaged ends for that; else it answers EIO.
    """

    settings: ServeSettings
    agreed: Negotiated
    device: int
    counters: SharedCounters
    backings: BackingTable
    errands: ErrandPipe | None = None
    may_renew: bool = False


_log = logging.getLogger(__name__)
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
        device = own_queue(mounted.device)
    buffers, errands = Buffers(mounted.agreed.max_read), mounted.errands

    def tell() -> None:
        if errands is not None:
            errands.send(buffers.request[: IN_HEADER.size + READ_IN.size], wants_answer=False)

    opened = _open_source(mounted)
    if opened is None:
        return UNOPENED
    with (
        closing(opened) as source,
        closing(Contents(source, tell=tell if errands is not None else None)) as contents,
    ):
        handlers = Requests(source, buffers=buffers, contents=contents, errands=errands).handlers()
        if mounted.settings.passthrough:
            opens = Passthrough(device, source, buffers=buffers, table=mounted.backings, get_on=lambda: get_on(row))
            handlers.update(opens.handlers())
        wakeups = Wakeups(hasten=mounted.settings.quick_wakeups)
        worker = Worker(
            device,
            buffers=buffers,
            handlers=handlers,
            row=row,
            wakeups=wakeups,
            errands=errands,
            may_renew=mounted.may_renew,
            close_idle=contents.close_idle,
        )
        try:
            ended = worker.run()
        except DamagedError:
            os._exit(DAMAGED)  # closing what is damaged could end this in another way
    return ENDED if ended else STOPPED


def get_on(row: memoryview) -> None:
    """Say that the present request takes long, and that whoever works on it is not stuck."""
    row[shared.BUSY_SINCE] = time.monotonic_ns()


def own_queue(device: int) -> int:
    """Return a descriptor of the mount with a queue of its own; where `/dev/fuse` cannot be opened, the same one."""
    try:
        return clone_device(device)
    except OSError as error:
        _log.warning(
            "%s cannot be opened (%s): what a killed worker has taken waits until it is unmounted",
            DEVICE,
            error.strerror,
        )
        return device


def _open_source(mounted: Mounted) -> Source | None:
    """Return what to answer from; None when something else may have to be opened."""
    spec = mounted.settings.source
    try:
        return spec.open_source()
    except (ArtifactFSError, OSError) as error:
        if not spec.can_renew:
            raise
        if mounted.may_renew:
            _log.error("what is mounted cannot be opened: %s", error)
            return None
        return LostSource()


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
    try:
        changes = mounted.settings.source.open_changes()
    except (ArtifactFSError, OSError) as error:
        if not mounted.settings.source.can_renew:
            raise
        _log.error("changes cannot be looked for: %s", error)
        return UNOPENED if mounted.may_renew else ENDED
    return ENDED if changes is None else _notify(mounted, changes, row)


def _notify(mounted: Mounted, changes: ChangeSource, row: memoryview) -> int:
    with closing(changes):
        expires = mounted.agreed.has(InitFlag.HAS_EXPIRE_ONLY)
        notifier = Notifier(mounted.device, changes, row=row, expires=expires, may_renew=mounted.may_renew)
        try:
            notifier.run()
        except DamagedError:
            os._exit(DAMAGED)
    return ENDED
