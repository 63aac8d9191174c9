"""Mounting: what is looked at first, the server, and what is shown in the mount when it answers.

Part of `api`; the command line takes it from here, because it imports little: what a mount needs is imported by its
server, which starts beside (`spare`).

Threading: functions without state.
"""

from __future__ import annotations

import logging
import os

from artifactfs.errors import BusyError, MountError, UsageError
from artifactfs.mount import staging_mounts
from artifactfs.mount.fusedevice import DEVICE, check_descriptor, check_unserved, look_at_device
from artifactfs.mount.launch import become_server, start_server
from artifactfs.mount.metrics_target import check_target, place_target
from artifactfs.mount.mountpoint import check_mountpoint, clear_dead, make_mountpoint, resolve_mountpoint
from artifactfs.mount.options import MountInfo, MountOptions, Places
from artifactfs.mount.orders import FUSEPY, KERNEL, LOCKED, REPOSITORY, VERSION, Order
from artifactfs.mount.port.place import show as show_port
from artifactfs.mount.registry import is_served, slot_for
from artifactfs.mount.sharing import share_parent
from artifactfs.mount.spare import Taker
from artifactfs.mount.syscalls import may_mount
from artifactfs.mount.transport import check_transport, find_ignored

_log = logging.getLogger(__name__)
__all__ = ["MountOptions", "mount"]


def mount(places: Places, mountpoint: str, *, options: MountOptions, spare: Taker | None = None) -> MountInfo:
    """Mount the repository of `places`, or one version of it, and return when a first listing answers.

    With `options.foreground` this process becomes the server and the call does not return.

    Args:
        places: the user's directories.
        mountpoint: an empty directory.
        options: how to mount.
        spare: what was started ahead; it is taken unless the options want a process of their own.

    Raises:
        MountError: the mount point is missing, no directory, not empty, taken or inside the repository;
            `/dev/fuse` or libfuse is missing or forbidden; the server ended before it was ready.
        NotFoundError: `options.artifact` names nothing.
        UsageError: `options.descriptor` has no mount behind it, or one that is served; the transport that is asked for
            does not have one of the options.
        ConfigurationError: metrics cannot be given out where they are to be.
    """
    check_transport(options)
    path = resolve_mountpoint(mountpoint) if options.descriptor is None else os.path.abspath(mountpoint)
    _check_descriptor(places, path, options)
    order = _order_for(places, path, options)
    is_kept = False
    # What is mounted already and has nobody who answers yet must not be looked into.
    if options.descriptor is None:
        order, is_kept = _look_for_kept(order)
        if not is_kept:
            _check_place(places, path, options)
    if not is_kept:
        check_target(order.metrics, mountpoint=path)
    if options.foreground:
        become_server(places, order)
    has_own_process = order.descriptor is not None or order.keep
    info = start_server(places, order, spare=None if has_own_process else spare)
    for option in find_ignored(order) if info.transport == FUSEPY else ():
        _log.warning("%s does nothing: the fusepy transport serves; %s says why", option, info.log)
    if info.kind == REPOSITORY:
        show_port(places, info.mountpoint)
        keys = staging_mounts.staging_keys(places, info.repository_id, info.repository, is_mounting=True)
        for error in staging_mounts.attach_all(places, keys, author=options.author):
            _log.warning("a staging directory cannot be shown: %s", error)
    return info


def _check_descriptor(places: Places, path: str, options: MountOptions) -> None:
    """Return if what somebody else has mounted, if anything, can be served.

    Raises:
        UsageError: it cannot.
        BusyError: a server of this user does so already.
    """
    if options.descriptor is None:
        return
    if options.transport == FUSEPY:
        msg = "a descriptor that is mounted already is served by the kernel transport alone"
        raise UsageError(msg, hint="leave --transport out")
    check_descriptor(options.descriptor)
    if is_served(slot_for(places, path)):
        msg = f"another process is serving {path}"
        raise BusyError(msg, hint="run: artifactfs mounts", subject=path)
    if options.manager is None or not options.manager.kept:
        check_unserved(options.descriptor)


def _look_for_kept(order: Order) -> tuple[Order, bool]:
    """Return the order for the server, and whether it goes on with a mount that an earlier one left."""
    if order.manager is None:
        return order, False
    from artifactfs.mount.service.kept import find_handover, without_kept  # noqa: PLC0415  (most have no manager)

    return (order, True) if find_handover(order) is not None else (without_kept(order), False)


def _check_place(places: Places, path: str, options: MountOptions) -> None:
    """Return when something can be mounted on `path`.

    Raises:
        MountError: as in `mount`.
    """
    clear_dead(path)
    if options.make_directory:
        make_mountpoint(path)
    check_mountpoint(path, repository=places.repository, others=(places.state, places.cache, places.runtime))
    device = look_at_device(DEVICE)
    if not device.ok:
        raise MountError(device.message, hint=device.mend, subject=DEVICE)
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
        transport=options.transport if options.descriptor is None else KERNEL,
        passthrough=options.passthrough,
        freeze_aliases=options.freeze_aliases,
        locked=options.locked if options.artifact is None else None,
        quick_wakeups=options.quick_wakeups,
        workers=options.workers,
        debug=options.debug,
        metrics=place_target(options.metrics),
        descriptor=options.descriptor,
        keep=options.keep,
        manager=options.manager,
        kernel_options=options.kernel_options,
    )


def _find_kind(options: MountOptions) -> str:
    if options.artifact is not None:
        return VERSION
    return REPOSITORY if options.locked is None else LOCKED
