"""Unmounting, with the staging directories bound inside, all or nothing.

Used by `api`.

Threading: functions without state.
"""

from __future__ import annotations

import os
from contextlib import suppress

from artifactfs.errors import BusyError, MountError
from artifactfs.mount.mountinfo import MountLine, find_mount, mounts_below, read_mounts
from artifactfs.mount.mountpoint import busy_error, clear_dead, detach, is_dead, resolve_mountpoint
from artifactfs.mount.options import MountInfo, Places
from artifactfs.mount.orders import REPOSITORY
from artifactfs.mount.port.place import bind_read_only
from artifactfs.mount.port.place import remove as remove_port
from artifactfs.mount.registry import is_served, read_record, slot_for
from artifactfs.mount.staging_mounts import await_end, changing, end_all, repository_mounts, staging_mounts
from artifactfs.mount.syscalls import bind_mount
from artifactfs.mount.users import iter_users, iter_viewers
from artifactfs.paths import printable

_END_SECONDS = 30.0
_STAGING_END_SECONDS = 2.0


def unmount(places: Places, mountpoint: str, *, lazy: bool) -> None:
    """Unmount; see `api.unmount`."""
    path = resolve_mountpoint(mountpoint)
    line = find_mount(path)
    if line is None or not line.is_ours:
        shown = printable(os.fsencode(path))
        msg = f"no artifactfs is mounted on {shown}"
        raise MountError(msg, hint="artifactfs mounts lists what is mounted", subject=path)
    slot = slot_for(places, path)
    info = read_record(slot.record)
    ending: list[str] = []
    # A mount with a living server is not looked into: it may hang.
    if not is_served(slot) and is_dead(path):
        clear_dead(path)
    else:
        with changing(places):  # else what is taken away first is brought back, and in the way
            if not lazy:
                ending = _ending_with(places, info)
                _check_unused([path, *ending])
            _take_down(path, lazy=lazy)
    _finish(places, path, info, ending, lazy=lazy)


def _finish(places: Places, path: str, info: MountInfo | None, ending: list[str], *, lazy: bool) -> None:
    if not lazy:
        await_end(places, path, seconds=_END_SECONDS)
    if info is not None:
        # The server does this itself, unless it was killed.
        end_all(places, info.repository_id)
        remove_port(places, path)
    for staging in ending:
        # So that nothing is held any more. A container may still have it mounted, in a namespace of its own.
        with suppress(MountError):
            await_end(places, staging, seconds=_STAGING_END_SECONDS)


def _ending_with(places: Places, info: MountInfo | None) -> list[str]:
    """Return the staging mounts that end with a mount because it is the last of its repository."""
    if info is None or info.kind != REPOSITORY:
        return []
    others = [other for other in repository_mounts(places, info.repository_id) if other.mountpoint != info.mountpoint]
    return [] if others else [staging.mountpoint for staging in staging_mounts(places, info.repository_id)]


def _check_unused(paths: list[str]) -> None:
    for path in paths:
        if next(iter_users(path), None) is not None:
            raise busy_error(path)
    line = find_mount(paths[0])
    viewer = None if line is None else next(iter_viewers(line.device), None)
    if viewer is not None:
        shown = printable(os.fsencode(paths[0]))
        msg = f"{shown} is in use by process {viewer.pid} ({viewer.command}), which `artifactfs run` started"
        raise BusyError(msg, hint="let it end, or use --lazy", subject=paths[0])


def _take_down(path: str, *, lazy: bool) -> None:
    if lazy:
        detach(path, lazy=True)
        return
    bound = [line for line in mounts_below(path) if line.is_ours]
    sources = {line: _source_of(line) for line in bound}
    try:
        for line in bound:
            detach(line.mountpoint, lazy=True)
    except BusyError:
        raise
    except MountError:
        # The way there leads through the mount, which may answer nothing but errors. Nobody uses it, so all goes.
        detach(path, lazy=True)
        return
    try:
        detach(path, lazy=False)
    except BusyError:
        for line, source in sources.items():
            if source is not None:
                (bind_read_only if line.is_port else bind_mount)(source, line.mountpoint)
        raise


def _source_of(bound: MountLine) -> str | None:
    """Return where else the file system of a bound mount is mounted."""
    return next((line.mountpoint for line in read_mounts() if line.device == bound.device and line != bound), None)
