"""From a mount point to a mount that answers: INIT, the shared memory, the supervisor.

Used by the daemon of the kernel transport; `resume` is what an upgraded one begins with.

Threading: one thread.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

from msgspec import structs

from artifactfs.blobstore.keys import FORMAT_PREFIX
from artifactfs.errors import MountError
from artifactfs.mount.kernel import backing_table
from artifactfs.mount.kernel.backing_table import BackingTable, create_backings
from artifactfs.mount.kernel.codes import InitFlag
from artifactfs.mount.kernel.device import may_register
from artifactfs.mount.kernel.errands import ErrandPipe
from artifactfs.mount.kernel.mounting import raise_read_ahead
from artifactfs.mount.kernel.negotiation import (
    Negotiated,
    encode_init_refusal,
    encode_init_reply,
    is_init,
    negotiate,
)
from artifactfs.mount.kernel.notifications import encode_resend
from artifactfs.mount.kernel.serving import Mounted
from artifactfs.mount.kernel.settings import ServeSettings
from artifactfs.mount.kernel.shared import SharedCounters, create_counters

if TYPE_CHECKING:
    from artifactfs.mount.kernel.settings import Handover
    from artifactfs.mount.kernel.source import SourceSpec

_log = logging.getLogger(__name__)
INIT_SECONDS: Final = 10
"""INIT waits from the moment of mounting, so this is long."""
SHORT_NS: Final = 50_000_000


def begin(device: int, settings: ServeSettings, *, probe: str = "") -> Mounted:
    """Answer INIT on a fresh descriptor and return the mount, which nobody serves yet.

    Args:
        device: the descriptor.
        settings: how to serve it.
        probe: the repository; with passthrough, it is tried whether the kernel takes files from there. "" is none.

    Raises:
        MountError: the kernel's protocol is too old, or the mount is already gone.
    """
    agreed = answer_init(device, passthrough=settings.passthrough)
    for line in agreed.missing():
        _log.warning("%s", line)
    ahead = raise_read_ahead(settings.mountpoint)
    _log.info("read-ahead is %s KiB", "unknown" if ahead is None else ahead)
    if not agreed.has(InitFlag.HAS_EXPIRE_ONLY):
        settings = structs.replace(settings, source=with_short_names(settings.source))
    if settings.fetches and not agreed.has(InitFlag.HAS_RESEND):
        # Each worker has a queue of its own, and answers what comes out of it.
        settings = structs.replace(settings, fetches=False, source=with_waiting(settings.source))
    if settings.passthrough:
        settings = structs.replace(settings, passthrough=_can_pass_through(device, agreed, probe))
    agreed = _in_use(agreed, settings)
    _log.info("protocol 7.%d, features: %s", agreed.minor, " ".join(agreed.feature_names()))
    return Mounted(settings, agreed, device, create_counters(), create_backings(), _make_errands(settings))


def _in_use(agreed: Negotiated, settings: ServeSettings) -> Negotiated:
    """Return what was agreed on without the passthrough that was granted by INIT and refused by the call."""
    if settings.passthrough:
        return agreed
    return structs.replace(agreed, flags=agreed.flags & ~int(InitFlag.PASSTHROUGH))


def _make_errands(settings: ServeSettings) -> ErrandPipe | None:
    return ErrandPipe() if settings.fetches else None


def with_short_names(source: SourceSpec) -> SourceSpec:
    """Return a source whose names above versions are kept for a moment only, as none of them can be expired."""
    return structs.replace(source, arguments={**source.arguments, "names_ns": SHORT_NS})


def with_waiting(source: SourceSpec) -> SourceSpec:
    """Return a source of which every worker gets from elsewhere by itself what is not here."""
    return structs.replace(source, arguments={**source.arguments, "known": None})


def _can_pass_through(device: int, agreed: Negotiated, probe: str) -> bool:
    """Return whether backing files are taken; an ordinary user is granted the flag, but not the call."""
    if not agreed.has(InitFlag.PASSTHROUGH):
        _log.warning("this kernel has no passthrough (Linux 6.9): large files are read through the workers")
        return False
    try:
        with _open_probe(probe) as file:
            refused = may_register(device, file.fileno())
    except OSError as error:  # there is no such file here
        refused = error
    if refused is not None:
        _log.warning("passthrough is refused here (%s): large files are read through the workers", refused.strerror)
    else:
        _log.info("passthrough: large files are handed to the kernel")
    return refused is None


def _open_probe(location: str) -> IO[bytes]:
    """Return a file that lies where content does: of a repository one that is there, since it may be read-only."""
    if not location:
        return tempfile.TemporaryFile()
    folder = os.path.join(location, FORMAT_PREFIX)
    return open(os.path.join(folder, min(os.listdir(folder), default="")), "rb")


def answer_init(device: int, *, passthrough: bool) -> Negotiated:
    """Read INIT, answer it, and return what was agreed on.

    Raises:
        MountError: as in `begin`.
    """
    request = _read_init(device)
    try:
        agreed = negotiate(request, extra=InitFlag.PASSTHROUGH if passthrough else InitFlag(0))
    except MountError:
        os.write(device, encode_init_refusal(request))
        raise
    os.write(device, encode_init_reply(request, agreed))
    return agreed


def _read_init(device: int) -> bytes:
    poll = select.poll()
    poll.register(device, select.POLLIN)
    if not poll.poll(INIT_SECONDS * 1000):
        msg = "nothing comes from the descriptor: something serves it already"
        raise MountError(msg, hint="mount it afresh")
    try:
        request = os.read(device, 1 << 16)
    except OSError as error:
        gone = error.errno in {errno.ENODEV, errno.ECONNABORTED, errno.EPERM}
        msg = "the descriptor has no mount behind it" if gone else f"the descriptor cannot be read: {error.strerror}"
        raise MountError(msg, hint="it must be one of /dev/fuse, mounted and not yet served") from error
    if not is_init(request):
        with suppress(OSError):  # whoever serves it is handed the request after all
            os.write(device, encode_resend())
        msg = "the first request of the descriptor is not INIT: something has served it before"
        raise MountError(msg, hint="mount it afresh")
    return request


def resume(handover: Handover) -> Mounted:
    """Return the mount that an earlier supervisor of this process handed over.

    A table of open files that another version shaped differently begins anew: files that are open stay so, uncounted.
    """
    fits = os.fstat(handover.backings).st_size == backing_table.SIZE
    if not fits:
        _log.warning("the earlier version counted open files in another way: they are not known any more")
    return Mounted(
        handover.settings,
        _in_use(handover.agreed, handover.settings),
        handover.device,
        SharedCounters(handover.counters),
        BackingTable(handover.backings) if fits else create_backings(),
        _make_errands(handover.settings),
    )
