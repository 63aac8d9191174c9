"""Getting a descriptor of `/dev/fuse` with a mount behind it: mount(2) where allowed, else fusermount3.

A descriptor that somebody else has mounted (`--fd N`) needs neither.

Threading: functions without state. They only name the mount point; nothing here looks into it.
"""

from __future__ import annotations

import array
import ctypes
import os
import socket
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from artifactfs.errors import MountError
from artifactfs.mount.kernel_options import NOEXEC, labels_in_force
from artifactfs.mount.mountinfo import FSTYPE, find_mount
from artifactfs.mount.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, may_mount

DEVICE: Final = "/dev/fuse"
READ_AHEAD_KIB: Final = 4096
_MS_NOATIME: Final = 1024
_SUBTYPE: Final = FSTYPE.partition(".")[2]


@dataclass(frozen=True, slots=True)
class MountRequest:
    """Where and how to mount.

    Attributes:
        mountpoint: absolute path of a directory.
        source: what the first column of the list of mounts says.
        allow_other: whether other users are let in.
        kernel_options: what `kernel_options` knows.
    """

    mountpoint: str
    source: str = "artifactfs"
    allow_other: bool = False
    kernel_options: tuple[str, ...] = ()


def open_mount(request: MountRequest) -> int:
    """Mount and return the descriptor, on which INIT is waiting to be read. It is not inherited through exec.

    Raises:
        MountError: `/dev/fuse` is missing or forbidden, or the system refuses the mount.
    """
    return mount_privileged(request) if may_mount() else mount_by_helper(request)


def mount_privileged(request: MountRequest) -> int:
    """Mount by mount(2), which needs CAP_SYS_ADMIN; return the descriptor.

    Raises:
        MountError: the system refuses.

    Source: mount(2); Documentation/filesystems/fuse.rst, "Mount options".
    """
    descriptor = _open_device()
    try:
        _mount(request, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_device() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        msg = f"{DEVICE} cannot be opened: {error.strerror}"
        raise MountError(msg, hint="run artifactfs doctor", subject=DEVICE) from error


def _mount(request: MountRequest, descriptor: int) -> None:
    options = [f"fd={descriptor}", f"rootmode={stat.S_IFDIR:o}", f"user_id={os.getuid()}", f"group_id={os.getgid()}"]
    options += ["default_permissions", *(["allow_other"] if request.allow_other else [])]
    options += labels_in_force(request.kernel_options)
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV | _MS_NOATIME | (MS_NOEXEC if NOEXEC in request.kernel_options else 0)
    library = ctypes.CDLL(None, use_errno=True)
    failed = library.mount(
        os.fsencode(request.source), os.fsencode(request.mountpoint), FSTYPE.encode(),
        ctypes.c_ulong(flags), ",".join(options).encode(),
    )  # fmt: skip
    if failed:
        reason = os.strerror(ctypes.get_errno())
        msg = f"mounting on {request.mountpoint} failed: {reason}"
        raise MountError(msg, hint="run artifactfs doctor", subject=request.mountpoint)


def mount_by_helper(request: MountRequest) -> int:
    """Mount by fusermount3, as an ordinary user; return the descriptor that it sends.

    Raises:
        MountError: the helper is missing, or refuses.

    Source: libfuse, util/fusermount.c: the socket's number is in `_FUSE_COMMFD`.
    """
    options = ["ro", "nosuid", "nodev", "noatime", "default_permissions", f"subtype={_SUBTYPE}"]
    options += [f"fsname={_escaped(request.source)}", *(["allow_other"] if request.allow_other else [])]
    options += [NOEXEC] if NOEXEC in request.kernel_options else []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        done = _run_helper(["-o", ",".join(options), "--", request.mountpoint], theirs.fileno())
        theirs.close()
        descriptor = _receive_descriptor(ours) if done.returncode == 0 else None
    if descriptor is None:
        reason = done.stderr.decode(errors="replace").strip() or "it sent no descriptor"
        msg = f"mounting on {request.mountpoint} failed: {reason}"
        raise MountError(msg, hint="run artifactfs doctor", subject=request.mountpoint)
    return descriptor


def _escaped(text: str) -> str:
    r"""Return a value for the helper, in which a comma ends an option unless escaped."""
    return text.replace("\\", "\\\\").replace(",", "\\,")


def _run_helper(arguments: list[str], descriptor: int) -> subprocess.CompletedProcess[bytes]:
    env = ["env", f"_FUSE_COMMFD={descriptor}"]
    try:
        return subprocess.run(
            [*env, "fusermount3", *arguments], pass_fds=[descriptor], capture_output=True, check=False
        )
    except FileNotFoundError as error:
        msg = "fusermount3 is missing"
        raise MountError(msg, hint="install the package fuse3") from error


def _receive_descriptor(channel: socket.socket) -> int | None:
    room = socket.CMSG_SPACE(array.array("i").itemsize)
    _, ancillary, _, _ = channel.recvmsg(1, room)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptor: int = array.array("i", data[:4])[0]
            os.set_inheritable(descriptor, False)
            return descriptor
    return None


def raise_read_ahead(mountpoint: str, *, kib: int = READ_AHEAD_KIB) -> int | None:
    """Raise how much the kernel reads ahead in a mount; return the KiB now in force, None when unknown.

    INIT can only lower it. An ordinary user may not raise it, which is no error.

    Source: Documentation/ABI/testing/sysfs-class-bdi.
    """
    line = find_mount(mountpoint)
    if line is None:
        return None
    knob = Path(f"/sys/class/bdi/{line.device}/read_ahead_kb")
    with suppress(OSError):
        knob.write_text(str(kib))
    try:
        return int(knob.read_text())
    except (OSError, ValueError):
        return None


def connection_number(mountpoint: str) -> int | None:
    """Return the number of a mount's directory in /sys/fs/fuse/connections, None when it is not mounted.

    Source: Documentation/filesystems/fuse.rst: the minor number of the device.
    """
    line = find_mount(mountpoint)
    return int(line.device.partition(":")[2]) if line is not None else None
