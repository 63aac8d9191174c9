"""The overlay of one staging directory: mounted, found again after its server was killed, unmounted.

The kernel serves an overlay without help, so it outlives the process that mounted it. A note in the runtime directory
says which lower mount and upper directory it has: who starts next goes on with it, if both are still good.

Used by the overlay's server.

Threading: belongs to one thread.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from artifactfs.errors import MountError, translate_os_error
from artifactfs.mount.mountinfo import find_mount, read_mounts
from artifactfs.mount.mountpoint import detach
from artifactfs.mount.overlay.lower import Lower, find_lower, start_lower
from artifactfs.mount.overlay.mounting import OverlayPaths, make_read_only, make_writable, mount_overlay
from artifactfs.staging.conversion import convert_to_overlay
from artifactfs.staging.files import remove_tree
from artifactfs.staging.layout import OVERLAY, read_driver

if TYPE_CHECKING:
    from artifactfs.mount.orders import Order
    from artifactfs.mount.spare import Spare
    from artifactfs.repository.staging import Staging

_log = logging.getLogger(__name__)


class _Note(Struct, frozen=True):
    """What the overlay on a staging directory's own mount point is made of."""

    device: str
    lower: str
    upper: str


def adopt(order: Order, staging: Staging, *, is_frozen: bool) -> Lower | None:
    """Go on with the overlay that a killed server left; None when there is none that is good.

    While a commit reads it (`is_frozen`), it stays read-only.

    Raises:
        OSError: it cannot be made writable again.
    """
    line, note = find_mount(order.mountpoint), _read_note(order)
    if line is None or note is None or line.device != note.device or note.upper != os.fsdecode(staging.upper):
        return None
    lower = find_lower(order, note.lower, is_empty=staging.info.root is None)
    if lower is not None and not is_frozen:
        make_writable(order.mountpoint)  # its server may have been killed during a commit, which has ended
    return lower


def mount(order: Order, staging: Staging, *, spare: Spare | None, is_frozen: bool = False) -> Lower:
    """Mount a staging directory; what is mounted there already is taken away.

    Raises:
        ArtifactFSError: it cannot be mounted; nothing was changed in it unless it was converted.
    """
    unmount(order.mountpoint)
    lower = start_lower(order, staging.info, spare=spare)
    try:
        os.makedirs(order.mountpoint, mode=0o700, exist_ok=True)
        if read_driver(staging.layout) != OVERLAY:
            _try_out(order, staging, lower)
            convert_to_overlay(staging.layout, staging.upper)
        mount_overlay(_paths(staging, lower, staging.upper), order.mountpoint, is_read_only=is_frozen)
        _write_note(order, staging, lower)
    except BaseException as error:
        unmount(order.mountpoint)
        lower.end()
        lower.close()
        if isinstance(error, OSError):
            raise translate_os_error(error, doing=f"mounting {staging}") from error
        raise
    return lower


def _try_out(order: Order, staging: Staging, lower: Lower) -> None:
    """Mount an overlay with an empty upper directory, before anything is converted.

    Raises:
        MountError: the file system cannot hold an upper directory, as in a container whose root is an overlay itself.
    """
    upper = os.path.join(staging.layout.work, b"trial")
    os.mkdir(upper)
    try:
        mount_overlay(_paths(staging, lower, upper), order.mountpoint)
        try:
            os.mkdir(os.path.join(order.mountpoint, "trial"))
        finally:
            detach(order.mountpoint, lazy=True)
        os.setxattr(upper, b"trusted.overlay.trial", b"y")
    except OSError as error:
        msg = f"the overlay driver cannot use {os.fsdecode(staging.layout.directory)}: {error.strerror}"
        raise MountError(msg, hint="--driver union works there") from error
    finally:
        remove_tree(upper)


def _paths(staging: Staging, lower: Lower, upper: bytes) -> OverlayPaths:
    remove_tree(staging.layout.kernel_work)
    os.mkdir(staging.layout.kernel_work, 0o700)
    return OverlayPaths(lower.path, os.fsdecode(upper), os.fsdecode(staging.layout.kernel_work))


def unmount(mountpoint: str) -> None:
    """Take an overlay away, wherever this name space shows it; who stands inside keeps a dead end.

    What is written there afterwards would bypass the next mount, so it becomes read-only first, if nobody is writing.
    """
    line = find_mount(mountpoint)
    if line is None:
        return
    if line.is_overlay:
        with suppress(OSError):
            make_read_only(mountpoint)
        for other in reversed(read_mounts()):
            if other.device == line.device and other.mountpoint != mountpoint:
                detach(other.mountpoint, lazy=True)
    detach(mountpoint, lazy=True)


def _note_path(order: Order) -> str:
    return f"{order.mountpoint}.overlay"


def _write_note(order: Order, staging: Staging, lower: Lower) -> None:
    line = find_mount(order.mountpoint)
    if line is None:
        msg = f"the overlay on {order.mountpoint} was unmounted at once"
        raise MountError(msg, subject=order.mountpoint)
    note = _Note(line.device, lower.path, os.fsdecode(staging.upper))
    temporary = f"{_note_path(order)}.new"
    with open(temporary, "wb") as file:
        file.write(msgspec.json.encode(note))
    os.replace(temporary, _note_path(order))


def _read_note(order: Order) -> _Note | None:
    try:
        with open(_note_path(order), "rb") as file:
            return msgspec.json.decode(file.read(), type=_Note)
    except (OSError, msgspec.MsgspecError):
        return None


def remove_note(order: Order) -> None:
    """Forget an overlay that was unmounted."""
    with suppress(FileNotFoundError):
        os.unlink(_note_path(order))
