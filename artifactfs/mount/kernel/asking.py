"""Asking the supervisor of a live mount, from another process: figures, and an upgrade.

Used by the command line. Never touches a mount: only control sockets.

Threading: functions without state.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from artifactfs.errors import MountError
from artifactfs.mount.control import ControlClient, find_client
from artifactfs.mount.mountpoint import resolve_mountpoint
from artifactfs.mount.registry import find_live, is_served, slot_for

if TYPE_CHECKING:
    from artifactfs.mount.options import MountInfo, Places

UPGRADE_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.05


def _get_info(places: Places, mountpoint: str) -> MountInfo:
    path = resolve_mountpoint(mountpoint)
    info = find_live(places, path)
    if info is None:
        msg = f"no artifactfs of this user is mounted on {path}"
        raise MountError(msg, hint="artifactfs mounts lists what is mounted", subject=path)
    if info.transport != "kernel":
        msg = f"the mount on {path} is served by the transport {info.transport}, which cannot do this"
        raise MountError(msg, hint="unmount it, and mount with --transport kernel", subject=path)
    return info


def _connect(info: MountInfo) -> ControlClient:
    client = find_client(info.socket)
    if client is None:
        msg = f"the server of {info.mountpoint} does not answer"
        raise MountError(msg, hint=f"its log is {info.log}", subject=info.mountpoint)
    return client


def find_figures(info: MountInfo) -> dict[str, Any] | None:
    """Return what a mount does in numbers (`figures.take_figures`); None when it cannot tell."""
    if info.transport != "kernel":
        return None
    client = find_client(info.socket)
    if client is None:
        return None
    with client:
        try:
            figures: dict[str, Any] = client.ask("figures")["figures"]
        except MountError:
            return None
        return figures


def upgrade_mount(places: Places, mountpoint: str) -> str:
    """Have the installed version serve a mount from now on, without unmounting; return that version.

    Raises:
        MountError: nothing is mounted there; the installed version does not start, and the old one goes on; or the
            server ended.
    """
    info = _get_info(places, mountpoint)
    with _connect(info) as client:
        before = client.ask("figures")["figures"]["upgrades"]
        client.ask("upgrade")
    deadline = time.monotonic() + UPGRADE_SECONDS
    while time.monotonic() < deadline:
        figures = find_figures(info)
        if figures is not None and figures["upgrades"] > before:
            return str(figures["version"])
        if not is_served(slot_for(places, info.mountpoint)):
            msg = f"the server of {info.mountpoint} ended while it was replaced: nothing is mounted there any more"
            raise MountError(msg, hint=f"its log says why: {info.log}", subject=info.mountpoint)
        time.sleep(_PAUSE_SECONDS)
    msg = f"the server of {info.mountpoint} goes on with the version that it was"
    raise MountError(msg, hint=f"its log says why: {info.log}", subject=info.mountpoint)
