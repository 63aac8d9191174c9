"""Starting servers: a fresh Python process of its own session, and waiting until it answers.

A server is started by exec, not by fork alone: threads and LMDB environments of the caller would be dead in it. The one
exception is forked before its maker has any. Some are started before it is known what they will serve (`spare`).

Used by `api` and `staging_mounts`.

Threading: functions without state.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from typing import Any

from artifactfs.errors import MountError
from artifactfs.mount.control import decode_error
from artifactfs.mount.environment import server_environment
from artifactfs.mount.options import MountInfo, Places
from artifactfs.mount.orders import Order
from artifactfs.mount.registry import Slot, prepare_folders, read_record, slot_for
from artifactfs.mount.spare import MODULE, Taker
from artifactfs.paths import printable

_START_SECONDS = 60.0
_FIRST_SECONDS = 2.0
_PAUSE_SECONDS = 0.01
_LOG_TAIL = 2000


def command_for(order: Order) -> list[str]:
    """Return the command line of a server. `-P`: nothing in the working directory is imported."""
    return [sys.executable, "-P", "-m", MODULE, order.encode()]


def start_server(places: Places, order: Order, *, spare: Taker | None = None) -> MountInfo:
    """Start a server in the background and return when a first listing of its mount answers.

    Args:
        places: the user's directories.
        order: what to serve.
        spare: what waits for an order; without it, or if it is gone, a fresh process is started.

    Raises:
        ArtifactFSError: why the server could not start, of the class that it was there.
        MountError: it ended or did not answer, with the end of its log.
    """
    prepare_folders(places)
    slot = slot_for(places, order.mountpoint)
    reading = None if spare is None else spare.take(order, log=slot.log)
    if reading is None:
        reading = _start_process(order, slot.log)
    try:
        _wait_until_ready(reading, slot.log)
    finally:
        os.close(reading)
    return _see_mount(order, slot)


def _start_process(order: Order, path: str) -> int:
    """Start a server; return the descriptor on which it says that it is ready."""
    reading, writing = os.pipe()
    try:
        # The log takes what Python says before the server has opened its own.
        with open(path, "ab", opener=_open_private) as log:
            process = subprocess.Popen(
                command_for(order.with_ready(writing)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=server_environment(),
                pass_fds=[writing] if order.descriptor is None else [writing, order.descriptor],
                start_new_session=True,
            )
        # What was started forks once, before it does anything else, and is nobody's child.
        process.wait()
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return reading


def _see_mount(order: Order, slot: Slot) -> MountInfo:
    """List a mount that is ready, and return its record.

    Raises:
        MountError: it cannot be listed, or has ended.
    """
    try:
        _list_once(order.mountpoint, slot.log)
    except PermissionError as error:
        if order.descriptor is None:
            msg = f"{order.mountpoint} was mounted but cannot be listed: {error.strerror}"
            raise MountError(msg, hint=f"the server's log is {slot.log}", subject=order.mountpoint) from error
        # Who mounted it lets nobody else in, this process included: that is up to him.
    info = read_record(slot.record)
    if info is None:
        msg = f"the mount on {order.mountpoint} ended as soon as it was up"
        raise MountError(msg, hint=f"its log is {slot.log}", subject=order.mountpoint)
    return info


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _wait_until_ready(reading: int, log: str) -> None:
    line = _read_line(reading, deadline=time.monotonic() + _START_SECONDS)
    if not line:
        msg = f"the server of the mount ended before it was ready: {_tail(log)}"
        raise MountError(msg, hint=f"its log is {log}")
    message: dict[str, Any] = json.loads(line)
    if "error" in message:
        raise decode_error(message)


def _read_line(descriptor: int, *, deadline: float) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(descriptor, 65536) if ready else b""
        if not chunk:
            return b""
        data += chunk
    return data


def _tail(log: str) -> str:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL))
            lines = file.read().strip().splitlines()
    except OSError:
        return "it left no log"
    return printable(lines[-1]) if lines else "it said nothing"


def _list_once(mountpoint: str, log: str) -> None:
    """Make the first listing, of which the beginning is enough: a directory can be large.

    Until the root's attributes are known its permission bits are 0, and the kernel drops the answer that tells them
    when a notification about the root comes meanwhile, as it does when a mount begins: whoever is not root is then
    refused, once. Source: fuse_fill_super_common, fuse_reverse_inval_inode, fuse_change_attributes (Linux 6.18).

    Raises:
        PermissionError: this user is not let in.
        MountError: it cannot be listed.
    """
    deadline = time.monotonic() + _FIRST_SECONDS
    while True:
        try:
            with os.scandir(mountpoint) as entries:
                next(entries, None)
        except PermissionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        except OSError as error:
            msg = f"{mountpoint} was mounted but cannot be listed: {error.strerror}"
            raise MountError(msg, hint=f"the server's log is {log}", subject=mountpoint) from error
        else:
            return


def become_server(places: Places, order: Order) -> None:
    """Replace this process by a server; does not return."""
    prepare_folders(places)
    command = command_for(dataclasses.replace(order, foreground=True))
    if order.descriptor is not None:
        os.set_inheritable(order.descriptor, True)
    for number in () if order.manager is None else order.manager.kept.values():
        os.set_inheritable(number, True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606
