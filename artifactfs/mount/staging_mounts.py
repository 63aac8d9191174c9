"""Showing staging directories: each is a mount of its own, bound over `@NAME` in every live mount of its repository.

The server of a staging directory runs as long as some mount of the repository is up. Where binding is not allowed the
view shows `@NAME` as a symbolic link to the staging directory's own mount, and nothing needs to be bound.

Used by `api`, by `daemon` when its own mount is gone, and by `keeper`. Never by a process that serves a mount of the
repository at the time: these functions look into mounts.

Threading: functions without state; a lock in the runtime directory lets one process at a time change anything.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from artifactfs.errors import ArtifactFSError, BusyError, MountError
from artifactfs.mount.launch import start_server
from artifactfs.mount.mountinfo import find_mount, read_mounts
from artifactfs.mount.mountpoint import clear_dead, detach, is_dead
from artifactfs.mount.options import MountInfo, Places
from artifactfs.mount.orders import REPOSITORY, STAGING, Order
from artifactfs.mount.outside import check_outside, do_outside, find_outside
from artifactfs.mount.registry import is_served, iter_live, prepare_folders, slot_for, staging_mountpoint
from artifactfs.mount.spare import Taker
from artifactfs.mount.syscalls import bind_mount, may_mount
from artifactfs.repository.statedirectory import find_state_directory
from artifactfs.staging.layout import Layout, is_deciding, iter_infos

_log = logging.getLogger(__name__)

_END_SECONDS = 20.0
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class StagingKey:
    """Which staging directory of which repository."""

    repository_id: str
    collection: str
    name: str

    def path_in(self, mountpoint: str) -> str:
        """Return where it is inside a mount of the repository."""
        return os.path.join(mountpoint, self.collection, f"@{self.name}")

    def own_mountpoint(self, places: Places) -> str:
        """Return where its own mount is, or would be."""
        return staging_mountpoint(places, self.repository_id, collection=self.collection, name=self.name)


def staging_keys(places: Places, repository_id: str, location: str, *, is_mounting: bool = False) -> list[StagingKey]:
    """Return the staging directories of a repository that are to be shown: not those that were just released.

    A new mount (`is_mounting`) shows also what was released by a process that was killed before it had removed it.
    """
    directory = find_state_directory(places.state, repository_id=repository_id, location=location)
    found = [(StagingKey(repository_id, info.collection, info.name), info) for info in iter_infos(directory)]
    return [
        key
        for key, info in found
        if not os.path.exists(_released_mark(places, key))
        or (is_mounting and not is_deciding(Layout(directory, collection=info.collection, name=info.name)))
    ]


def _released_mark(places: Places, key: StagingKey) -> str:
    """Return the path of the file that says: stopped on purpose, so do not bring it back."""
    return slot_for(places, key.own_mountpoint(places)).record + ".released"


@contextmanager
def changing(places: Places) -> Iterator[None]:
    """Let one process at a time change which staging directories are served and bound.

    Meanwhile the keeper of a mount brings nothing back: who takes several mounts away holds this for so long.
    """
    prepare_folders(places)
    path = os.path.join(places.runtime, "mounts", "staging.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def repository_mounts(places: Places, repository_id: str) -> list[MountInfo]:
    """Return the live mounts that show the whole repository, the oldest first."""
    return _of_kind(places, repository_id, REPOSITORY)


def staging_mounts(places: Places, repository_id: str) -> list[MountInfo]:
    """Return the live mounts of staging directories of a repository."""
    return _of_kind(places, repository_id, STAGING)


def _of_kind(places: Places, repository_id: str, kind: str) -> list[MountInfo]:
    location = os.path.realpath(places.repository)
    found = [
        info
        for info in iter_live(places)
        if (info.repository_id, info.kind) == (repository_id, kind)
        and os.path.realpath(info.repository) == location
        and find_mount(info.mountpoint) is not None
    ]
    return sorted(found, key=lambda info: info.started_ns)


def attach(places: Places, key: StagingKey, *, author: str, spare: Taker | None = None) -> str | None:
    """Serve and show a staging directory; see `api.attach_staging`."""
    outside = find_outside(repository_mounts(places, key.repository_id))
    if outside is not None:
        return do_outside(outside, places, "attach", **asdict(key), author=author)
    with changing(places):
        shown_in = repository_mounts(places, key.repository_id)
        if not shown_in:
            return None
        own = key.own_mountpoint(places)
        with suppress(FileNotFoundError):
            os.unlink(_released_mark(places, key))
        _serve(places, key, own, shown_in=shown_in, author=author, spare=spare)
        # Starting a server takes a while, in which a mount can be lost without anybody who would end what it showed.
        shown_in = repository_mounts(places, key.repository_id)
        if not shown_in:
            _end(places, own, lazy=True)
            return None
        paths = [_show(key, own, info.mountpoint) for info in shown_in]
        return paths[0]


def _serve(
    places: Places, key: StagingKey, own: str, *, shown_in: list[MountInfo], author: str, spare: Taker | None
) -> None:
    clear_dead(own)
    line = find_mount(own)
    # The kernel's overlay goes on when its server was killed: that is started again, and finds it.
    if line is not None and (not line.is_overlay or is_served(slot_for(places, own))):
        return
    await_end(places, own, seconds=_END_SECONDS)
    os.makedirs(own, mode=0o700, exist_ok=True)
    order = Order(
        kind=STAGING,
        mountpoint=own,
        repository=places.repository,
        state=places.state,
        cache=places.cache,
        runtime=places.runtime,
        author=author,
        collection=key.collection,
        staging=key.name,
        allow_other=any(info.allow_other for info in shown_in),
        follow_references=shown_in[0].follow_references,
        poll_seconds=shown_in[0].poll_seconds,
        limits=shown_in[0].limits,
    )
    start_server(places, order, spare=spare)


def _show(key: StagingKey, own: str, mountpoint: str) -> str:
    """Bind a staging directory's mount over its name, unless it is there or is a link; return where to write."""
    target = key.path_in(mountpoint)
    if not may_mount() or (find_mount(target) is None and os.path.islink(target)):
        return target if os.path.exists(target) else own
    if find_mount(target) is not None:
        clear_dead(target)
        _clear_former(target, own)
    if find_mount(target) is None:
        try:
            _bind_mount_of(own, target)
        except OSError as error:
            _log.warning("%s cannot be bound over %s: %s", own, target, error.strerror)
            return own
    return target


def _bind_mount_of(own: str, target: str) -> None:
    """Bind what is mounted on `own`, never the directory below it, in which what is written would be lost.

    Raises:
        MountError: nothing is mounted there; its server may end at any moment.
        OSError: it cannot be bound.
    """
    try:
        descriptor = os.open(own, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Several may be listed at one path: copies that propagation made below another mount are hidden.
            here = {line.mount_id for line in read_mounts() if line.mountpoint == own}
            if _mount_id_of(descriptor) not in here:
                raise OSError(errno.EINVAL, "no mount", own)
            bind_mount(f"/proc/self/fd/{descriptor}", target)  # EINVAL when it has been unmounted since
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTCONN):
            raise
        msg = f"the server of {target} has just ended"
        raise MountError(msg, hint="it is started again in a few seconds", subject=target) from error


def _mount_id_of(descriptor: int) -> int:
    """Return the id of the mount that a descriptor is on. Source: proc_pid_fdinfo(5), since Linux 3.15."""
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))


def _clear_former(target: str, own: str) -> None:
    """Take away what is shown of an earlier server's mount."""
    bound, line = find_mount(target), find_mount(own)
    if bound is not None and line is not None and bound.is_ours and bound.device != line.device:
        detach(target, lazy=True)


def release(places: Places, key: StagingKey) -> None:
    """Stop showing and serving a staging directory; see `api.detach_staging`."""
    outside = find_outside(repository_mounts(places, key.repository_id))
    if outside is not None:
        _release_outside(places, key, outside)
        return
    with changing(places):
        own = key.own_mountpoint(places)
        targets = [key.path_in(info.mountpoint) for info in repository_mounts(places, key.repository_id)]
        removed: list[str] = []
        try:
            for path in targets:
                if find_mount(path) is not None:
                    detach(path, lazy=is_dead(path))
                    removed.append(path)
            _end_unheld(places, key, own)
            with open(_released_mark(places, key), "w", encoding="ascii"):
                pass
        except BusyError:
            for path in removed:
                with suppress(MountError):  # unmounted already: the keeper brings both back
                    _bind_mount_of(own, path)
            raise


def _release_outside(places: Places, key: StagingKey, outside: int) -> None:
    check_outside(outside)
    own = key.own_mountpoint(places)
    if find_mount(own) is not None:
        detach(own, lazy=False)
    try:
        do_outside(outside, places, "release", **asdict(key))
    except BusyError:
        do_outside(outside, places, "attach", **asdict(key), author="")
        raise


def _end_unheld(places: Places, key: StagingKey, own: str) -> None:
    """End a staging directory's server.

    Raises:
        BusyError: its mount is gone from here, but goes on elsewhere; the keeper brings it back.
    """
    try:
        _end(places, own, lazy=False)
    except MountError as error:
        msg = f"{key.collection}:@{key.name} is still mounted in another mount namespace, such as a container's"
        raise BusyError(msg, hint="end the container, or let it unmount it, and try again", subject=own) from error


def end_all(places: Places, repository_id: str) -> None:
    """End the servers of all staging directories if no mount shows the repository any more."""
    with changing(places):
        if repository_mounts(places, repository_id):
            return
        for info in staging_mounts(places, repository_id):
            try:
                # Whoever still stands inside keeps what is open; new processes do not find it.
                _end(places, info.mountpoint, lazy=True)
            except ArtifactFSError as error:
                _log.warning("the staging directory %s stays mounted: %s", info.mountpoint, error)


def _end(places: Places, own: str, *, lazy: bool) -> None:
    if find_mount(own) is not None:
        detach(own, lazy=lazy or is_dead(own))
    if not lazy:
        await_end(places, own, seconds=_END_SECONDS)
        _remove_folder(own)


def _remove_folder(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        _log.debug("%s stays", path)


def await_end(places: Places, mountpoint: str, *, seconds: float) -> None:
    """Return when no server holds the mount point any more.

    Raises:
        MountError: one still does after `seconds`.
    """
    slot = slot_for(places, mountpoint)
    deadline = time.monotonic() + seconds
    while is_served(slot):
        if time.monotonic() > deadline:
            msg = f"the server of {mountpoint} has not ended {seconds:.0f} s after it was unmounted"
            raise MountError(msg, hint=f"its log is {slot.log}", subject=mountpoint)
        time.sleep(_PAUSE_SECONDS)


def attach_all(places: Places, keys: Iterable[StagingKey], *, author: str) -> list[ArtifactFSError]:
    """Serve and show staging directories; return why some could not be."""
    failed: list[ArtifactFSError] = []
    for key in keys:
        try:
            attach(places, key, author=author)
        except ArtifactFSError as error:
            failed.append(error)
    return failed
