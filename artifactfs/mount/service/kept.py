"""What a server leaves with its service manager, and how the next one finds the mount again.

Used by `api`, `minder` and the daemon of the kernel transport. Threading: one thread.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.mount.kernel.settings import Handover, read_handover
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.mountpoint import detach
from artifactfs.mount.orders import Order
from artifactfs.mount.service.manager import drop, keep

if TYPE_CHECKING:
    from artifactfs.mount.service.manager import Manager

_log = logging.getLogger(__name__)
DEVICE: Final = "artifactfs-device"
COUNTERS: Final = "artifactfs-counters"
BACKINGS: Final = "artifactfs-backings"
EPOCH: Final = "artifactfs-epoch"
HANDOVER: Final = "artifactfs-handover"
NAMES: Final = (DEVICE, COUNTERS, BACKINGS, EPOCH, HANDOVER)
"""The handover comes last: who finds it finds all."""


def leave(manager: Manager | None, handover: Handover, *, epoch: int, described: int) -> bool:
    """Leave a mount with the manager; return whether it was taken.

    Args:
        manager: who keeps it.
        handover: what is served.
        epoch: descriptor of the lock of the epoch.
        described: memfd that holds `handover`.
    """
    numbers = (handover.device, handover.counters, handover.backings, epoch, described)
    taken = [keep(manager, name, number) for name, number in zip(NAMES, numbers, strict=True)]
    return all(taken)


def find_handover(order: Order) -> Handover | None:
    """Return the mount that an earlier server left, when it is what `order` asks for; else drop it.

    Touches no mount: nobody may be there to answer.
    """
    manager = order.manager
    if manager is None or not manager.kept:
        return None
    found = _load(manager.kept)
    if found is not None and _is_mounted(found, order.mountpoint) and _is_same(found, order):
        return found
    _log.warning(
        "what an earlier server of %s left is dropped: the mount is gone, or another is wanted", order.mountpoint
    )
    _drop_all(manager)
    if found is not None and found.extra.get("device") and _is_mounted(found, order.mountpoint):
        detach(order.mountpoint, lazy=True)
    return None


def without_kept(order: Order) -> Order:
    """Return an order for a server that finds nothing."""
    return order if order.manager is None else replace(order, manager=replace(order.manager, kept={}))


def _load(kept: dict[str, int]) -> Handover | None:
    try:
        found = read_handover(kept[HANDOVER])
        device, counters, backings, _ = (kept[name] for name in (DEVICE, COUNTERS, BACKINGS, EPOCH))
    except (KeyError, OSError, msgspec.MsgspecError):
        return None
    return msgspec.structs.replace(
        found, device=device, counters=counters, backings=backings, children=(), restarts=found.restarts + 1
    )


def _is_mounted(handover: Handover, mountpoint: str) -> bool:
    device = handover.extra.get("device")
    if not device:  # somebody else has mounted it, maybe in another mount namespace
        return True
    line = find_mount(mountpoint)
    return line is not None and line.device == device


def _is_same(handover: Handover, order: Order) -> bool:
    """Return whether an order is the one that was served, but for what belongs to one process."""

    def lasting(value: Order) -> Order:
        value = replace(value, manager=None, ready_descriptor=None, descriptor=None)
        return replace(value, foreground=False, keep=False, minded=False)

    try:
        return lasting(Order.decode(handover.extra["order"])) == lasting(order)
    except (KeyError, ValueError, msgspec.MsgspecError):
        return False


def _drop_all(manager: Manager) -> None:
    for name in NAMES:
        drop(manager, name)
        with suppress(KeyError, OSError):
            os.close(manager.kept[name])
