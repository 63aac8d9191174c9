"""Mounting, unmounting, and finding what is mounted: all that other packages use of `mount/`.

Threading: functions without state; any thread, any process. The process that calls must not be one that
serves a mount: most of these look into mounts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from artifactfs.errors import MountError
from artifactfs.mount import doctor, staging_mounts, unmounting
from artifactfs.mount.freezing import MountFreezer
from artifactfs.mount.launch import become_server, start_server
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.mountpoint import check_mountpoint, clear_dead, make_mountpoint, resolve_mountpoint
from artifactfs.mount.options import Finding, HasId, MountInfo, MountOptions, Places, StagingName
from artifactfs.mount.orders import LOCKED, LOWER, REPOSITORY, VERSION, Order
from artifactfs.mount.overlay.choice import check_overlay
from artifactfs.mount.port.asking import Port, find_port, iter_ports
from artifactfs.mount.port.messages import CommitAnswer
from artifactfs.mount.port.place import show as show_port
from artifactfs.mount.refreshing import refresh_name
from artifactfs.mount.registry import iter_live
from artifactfs.mount.service.kept import find_handover, without_kept
from artifactfs.mount.sharing import share_parent
from artifactfs.mount.shown import iter_shown
from artifactfs.mount.staging_ending import end_staging
from artifactfs.mount.staging_mounts import StagingKey
from artifactfs.mount.syscalls import may_mount
from artifactfs.staging.layout import OVERLAY

_log = logging.getLogger(__name__)

__all__ = [
    "CommitAnswer",
    "Finding",
    "MountFreezer",
    "MountInfo",
    "MountOptions",
    "Port",
    "attach_staging",
    "check_driver",
    "detach_staging",
    "diagnose",
    "end_staging",
    "find_path",
    "find_port",
    "find_staging_path",
    "iter_mounts",
    "iter_ports",
    "iter_shown",
    "mount",
    "refresh_name",
    "unmount",
]


def mount(places: Places, mountpoint: str, *, options: MountOptions) -> MountInfo:
    """Mount the repository of `places`, or one version of it, and return when a first listing answers.

    With `options.foreground` this process becomes the server and the call does not return.

    Raises:
        MountError: the mount point is missing, no directory, not empty, taken or inside the repository;
            `/dev/fuse` or libfuse is missing or forbidden; the server ended before it was ready.
        NotFoundError: `options.artifact` names nothing.
    """
    path = resolve_mountpoint(mountpoint) if options.descriptor is None else os.path.abspath(mountpoint)
    order = _order_for(places, path, options)
    # What is mounted already and has nobody who answers yet must not be looked into.
    if options.descriptor is None and find_handover(order) is None:
        order = without_kept(order)
        _check_place(places, path, options)
    if options.foreground:
        become_server(places, order)
    info = start_server(places, order)
    if info.kind == REPOSITORY:
        show_port(places, info.mountpoint)
        keys = staging_mounts.staging_keys(places, info.repository_id, info.repository)
        for error in staging_mounts.attach_all(places, keys, author=options.author):
            _log.warning("a staging directory cannot be shown: %s", error)
    return info


def _check_place(places: Places, path: str, options: MountOptions) -> None:
    """Return when something can be mounted on `path`.

    Raises:
        MountError: as in `mount`.
    """
    clear_dead(path)
    if options.make_directory:
        make_mountpoint(path)
    check_mountpoint(path, repository=places.repository)
    device = doctor.look_at_device(doctor.DEVICE)
    if not device.ok:
        raise MountError(device.message, hint=device.mend, subject=doctor.DEVICE)
    if options.share_parent:
        share_parent(path)


def _order_for(places: Places, path: str, options: MountOptions) -> Order:
    return Order(
        kind=_find_kind(options),
        mountpoint=path,
        repository=places.repository,
        state=places.state,
        cache=places.cache,
        runtime=places.runtime,
        author=options.author,
        follow_references=options.follow_references,
        poll_seconds=options.poll_seconds,
        limits=options.limits,
        artifact=options.artifact,
        allow_other=options.allow_other,
        uid=options.uid,
        gid=options.gid,
        staging_links=not may_mount(),
        transport=options.transport,
        passthrough=options.passthrough,
        freeze_aliases=options.freeze_aliases,
        locked=options.locked if options.artifact is None else None,
        quick_wakeups=options.quick_wakeups,
        workers=options.workers,
        debug=options.debug,
        metrics=options.metrics,
        descriptor=options.descriptor,
        keep=options.keep,
        manager=options.manager,
        kernel_options=options.kernel_options,
    )


def _find_kind(options: MountOptions) -> str:
    if options.artifact is not None:
        return VERSION
    return REPOSITORY if options.locked is None else LOCKED


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


def find_view(places: Places, repository_id: str, *, run: str) -> tuple[str, str] | None:
    """Return the mount point of a mount that shows the view of a run, and the view's directory; None without one.

    The view must have been begun. Only whole repositories served by the kernel transport show views.
    """
    for info in iter_mounts(places):
        if (info.repository_id, info.kind, info.transport) == (repository_id, REPOSITORY, "kernel"):
            path = os.path.join(info.mountpoint, f"@run-{run}")
            if os.path.isdir(path):
                return info.mountpoint, path
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


def attach_staging(places: Places, repository: HasId, *, staging: StagingName, author: str = "") -> str | None:
    """Serve a staging directory and show it in every live mount of its repository.

    Idempotent: what is already there stays, what was lost is made again.

    Returns:
        The path where it can be written; None when the repository is not mounted (nothing is started).

    Raises:
        MountError: its server could not be started.
    """
    key = StagingKey(repository.id, staging.collection, staging.name)
    return staging_mounts.attach(places, key, author=author)


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
