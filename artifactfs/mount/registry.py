"""The mounts that are up: one JSON file, one socket and one lock for each, in the runtime directory.

A server holds the lock while it lives, so a record whose lock is free is a dead server's: it is swept when its mount is
gone, too.

    mounts/<key>.json   what `MountInfo` says
    mounts/<key>.sock   the control socket, mode 0600
    mounts/<key>.lock   held by the server
    s/<key>/            where a staging directory's own mount is
    p/<key>/            where the tmpfs with the socket for containers is

The key is made from the mount point, and short.

Used by `api`, `daemon`, `launch` and `staging_mounts`.

Threading: functions and immutable values; any process.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import msgspec

from artifactfs.errors import BusyError, MountError, translate_os_error
from artifactfs.filelocks import is_locked
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.options import MountInfo, Places
from artifactfs.places import make_runtime_directory

_LOG_FOLDER = "mounts"
_FOLDER = "mounts"
_STAGING_FOLDER = "s"
_PORT_FOLDER = "p"
_LOCK_TRIES = 50
_LOCK_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Slot:
    """The files that belong to one mount point."""

    record: str
    socket: str
    lock: str
    log: str


def slot_for(places: Places, mountpoint: str) -> Slot:
    """Return where the files of the mount on `mountpoint` are, or would be."""
    base = os.path.join(places.runtime, _FOLDER, _key(mountpoint))
    log = os.path.join(places.state, _LOG_FOLDER, f"{_key(mountpoint)}.log")
    return Slot(f"{base}.json", f"{base}.sock", f"{base}.lock", log)


def staging_mountpoint(places: Places, repository_id: str, *, collection: str, name: str) -> str:
    """Return where a staging directory's own mount is, or would be."""
    key = _key("\0".join((repository_id, os.path.realpath(places.repository), collection, name)))
    return os.path.join(os.path.realpath(places.runtime), _STAGING_FOLDER, key)


def port_folder(places: Places, mountpoint: str) -> str:
    """Return where the tmpfs with the socket of the mount on `mountpoint` is, or would be."""
    return os.path.join(os.path.realpath(places.runtime), _PORT_FOLDER, _key(mountpoint))


def _key(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]


def prepare_folders(places: Places) -> None:
    """Make the directories for records, staging mounts and logs, closed to other users.

    Raises:
        AccessDeniedError: the runtime directory belongs to somebody else.
        MountError: one cannot be made.
    """
    make_runtime_directory(places.runtime, uid=os.geteuid())
    for folder in (
        os.path.join(places.runtime, _FOLDER),
        os.path.join(places.runtime, _STAGING_FOLDER),
        os.path.join(places.runtime, _PORT_FOLDER),
        os.path.join(places.state, _LOG_FOLDER),
    ):
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError as error:
            msg = f"the directory {folder} cannot be made: {error.strerror}"
            raise MountError(msg, subject=folder) from error


@contextmanager
def held_slot(slot: Slot, *, mountpoint: str, inherited: int | None = None) -> Iterator[int]:
    """Hold the lock of a mount point for as long as the context lasts, and clear its files afterwards.

    Gives the descriptor of the lock. `inherited` is one that this process held before it replaced its program.

    Raises:
        BusyError: another server holds it.
    """
    descriptor = os.open(slot.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if inherited is None else inherited
    try:
        if inherited is None:
            _lock(descriptor, mountpoint)
            _clear(slot)
        try:
            yield descriptor
        finally:
            _clear(slot)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # children have it, too, and may go on
    finally:
        os.close(descriptor)


def _lock(descriptor: int, mountpoint: str) -> None:
    """Take the lock; who only looks (`is_served`) holds it for an instant, so try for a while."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return
    msg = f"another process is serving or mounting {mountpoint}"
    raise BusyError(msg, hint="artifactfs mounts shows it as soon as it is up", subject=mountpoint)


def _clear(slot: Slot) -> None:
    # What cannot be removed is an error for whoever makes it anew; here it must not keep a mount from being taken away.
    for path in (slot.record, slot.socket):
        with suppress(OSError):
            os.unlink(path)


def is_served(slot: Slot) -> bool:
    """Return whether a server holds the slot."""
    return is_locked(slot.lock, fcntl.LOCK_SH)


def write_record(slot: Slot, info: MountInfo) -> None:
    """Make a mount known. Whoever lists sees all of the record or none.

    Raises:
        StorageFullError, AccessDeniedError: it cannot be written.
    """
    temporary = f"{slot.record}.new"
    try:
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(dataclasses.asdict(info), file)
        os.replace(temporary, slot.record)
    except OSError as error:
        raise translate_os_error(error, doing=f"writing {slot.record}", subject=slot.record) from error


def read_record(path: str) -> MountInfo | None:
    """Return what a record says; None when it is gone or was written by another release."""
    try:
        with open(path, encoding="ascii") as file:
            return msgspec.convert(json.load(file), MountInfo)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def iter_live(places: Places) -> Iterator[MountInfo]:
    """Yield the mounts that have a living server, and remove the records of what is gone.

    Records that somebody else may have written are not believed.
    """
    return (info for info, is_live in _iter_mounted(places) if is_live)


def iter_lost(places: Places) -> Iterator[MountInfo]:
    """Yield the mounts whose server is gone; their records say what else is to be taken away with them."""
    return (info for info, is_live in _iter_mounted(places) if not is_live)


def _iter_mounted(places: Places) -> Iterator[tuple[MountInfo, bool]]:
    folder = os.path.join(places.runtime, _FOLDER)
    try:
        if os.lstat(folder).st_uid != os.geteuid():
            return
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith(".json"):
            info = read_record(os.path.join(folder, name))
            if info is not None and is_served(slot_for(places, info.mountpoint)):
                yield info, True
            elif info is not None and _is_mounted(info.mountpoint):
                yield info, False
            else:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))


def _is_mounted(mountpoint: str) -> bool:
    line = find_mount(mountpoint)
    return line is not None and line.is_ours


def find_live(places: Places, mountpoint: str) -> MountInfo | None:
    """Return the record of the living mount on `mountpoint`, or None."""
    slot = slot_for(places, mountpoint)
    return read_record(slot.record) if is_served(slot) else None
