"""Mounting, unmounting, and finding what is mounted: all that other packages use of `mount/`.

Threading: functions without state; any thread, any process. The process that calls must not be one that
serves a mount: most of these look into mounts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from artifactfs.mount import doctor, staging_mounts, unmounting
from artifactfs.mount.beginning import mount
from artifactfs.mount.freezing import MountFreezer
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.mountpoint import is_dead
from artifactfs.mount.options import Finding, HasId, MountInfo, MountOptions, Places, StagingName
from artifactfs.mount.orders import LOWER, REPOSITORY, VERSION
from artifactfs.mount.outside import check_outside, find_outside
from artifactfs.mount.overlay.choice import check_overlay
from artifactfs.mount.port.asking import Port, find_port, iter_ports
from artifactfs.mount.port.messages import CommitAnswer
from artifactfs.mount.refreshing import refresh_name
from artifactfs.mount.registry import iter_live, iter_lost
from artifactfs.mount.shown import find_shown
from artifactfs.mount.spare import Taker
from artifactfs.mount.staging_ending import end_staging
from artifactfs.mount.staging_mounts import StagingKey
from artifactfs.mount.telling import tell_quota
from artifactfs.staging.layout import OVERLAY

__all__ = [
    "CommitAnswer",
    "Finding",
    "MountFreezer",
    "MountInfo",
    "MountOptions",
    "Port",
    "attach_staging",
    "check_driver",
    "check_staging",
    "detach_staging",
    "diagnose",
    "end_staging",
    "find_path",
    "find_port",
    "find_shown",
    "find_staging_path",
    "iter_dead",
    "iter_mounts",
    "iter_ports",
    "mount",
    "refresh_name",
    "tell_quota",
    "unmount",
]


def unmount(places: Places, mountpoint: str, *, lazy: bool = False) -> None:
    """Unmount what artifactfs has mounted on `mountpoint`, with the staging directories bound inside.

    Args:
        places: the user's directories.
        mountpoint: the path; a dead mount is cleared.
        lazy: take it out of the name space at once; who has it open keeps it.

    Raises:
        MountError: nothing of artifactfs is mounted there.
        BusyError: a process uses it, named in the message; nothing was unmounted.
    """
    unmounting.unmount(places, mountpoint, lazy=lazy)


def iter_mounts(places: Places) -> Iterator[MountInfo]:
    """Yield the live mounts of this user, staging directories' among them; what is dead is swept.

    What overlays have below them is not among them: nobody looks at it.
    """
    for info in iter_live(places):
        if info.kind != LOWER and find_mount(info.mountpoint) is not None:
            yield info


def iter_dead(places: Places) -> Iterator[MountInfo]:
    """Yield the mounts of this user that have lost their server and were not unmounted since."""
    return (info for info in iter_lost(places) if is_dead(info.mountpoint))


def find_path(places: Places, repository_id: str, *, collection: str, version: int, view: str = "") -> str | None:
    """Return where a version can be seen inside a live mount, or None.

    Args:
        places: the user's directories.
        repository_id: whose mounts are looked at.
        collection: its collection.
        version: its number.
        view: a run's view of one of these mounts, which is preferred to any mount; "" for none.
    """
    mounts = [info for info in iter_mounts(places) if info.repository_id == repository_id]
    for info in mounts:
        if info.kind == REPOSITORY and info.mountpoint in (view, os.path.dirname(view)) and os.path.isdir(view):
            return os.path.join(view, collection, f"v{version}")
    for info in mounts:
        if info.kind == REPOSITORY:
            return os.path.join(info.mountpoint, collection, f"v{version}")
        if info.kind == VERSION and (info.collection, info.version) == (collection, version):
            return info.mountpoint
    return None


def find_staging_path(places: Places, repository_id: str, *, collection: str, name: str) -> str | None:
    """Return where a staging directory can be seen and written, or None when no mount is up."""
    key = StagingKey(repository_id, collection, name)
    for info in staging_mounts.repository_mounts(places, repository_id):
        path = key.path_in(info.mountpoint)
        if find_mount(path) is not None or os.path.islink(path):
            return path
    own = key.own_mountpoint(places)
    return own if find_mount(own) is not None else None


def attach_staging(
    places: Places, repository: HasId, *, staging: StagingName, author: str = "", spare: Taker | None = None
) -> str | None:
    """Serve a staging directory and show it in every live mount of its repository.

    Idempotent: what is already there stays, what was lost is made again. `spare` is what was started ahead.

    Returns:
        The path where it can be written; None when the repository is not mounted (nothing is started).

    Raises:
        MountError: its server could not be started.
    """
    key = StagingKey(repository.id, staging.collection, staging.name)
    return staging_mounts.attach(places, key, author=author, spare=spare)


def check_staging(places: Places, repository_id: str) -> None:
    """Return if this process can have staging directories served, where the repository is mounted.

    Raises:
        UsageError: it is a program of `artifactfs run`, and may not.
    """
    check_outside(find_outside(staging_mounts.repository_mounts(places, repository_id)))


def check_driver(driver: str) -> None:
    """Return if staging directories can be served by a driver on this machine, by this user.

    Raises:
        MountError: it is `overlay`, and this process may not mount one.
    """
    if driver == OVERLAY:
        check_overlay()


def detach_staging(places: Places, repository: HasId, *, staging: StagingName) -> None:
    """Stop serving a staging directory, before `discard` or `commit --close`; none served is no error.

    Raises:
        BusyError: a process uses it, named in the message; it goes on being served.
    """
    staging_mounts.release(places, StagingKey(repository.id, staging.collection, staging.name))


def diagnose(places: Places) -> list[Finding]:
    """Return what on this machine decides whether mounts work, each with the mend."""
    return doctor.diagnose(places)
