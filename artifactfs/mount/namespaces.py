"""A program that sees directories in the place of mounts, and nobody else does: a mount namespace of its own.

Used by whoever runs programs in the view of a run. Threading: `enter` is called in a forked child, before exec.

Source: unshare(2), mount_namespaces(7), user_namespaces(7).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from artifactfs.mount.port.place import NAME
from artifactfs.mount.syscalls import bind_mount, may_mount, mount_filesystem, unshare

if TYPE_CHECKING:
    from collections.abc import Sequence

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUSER: Final = 0x1000_0000
MS_REC: Final = 16384
MS_SLAVE: Final = 1 << 19


def enter(shown: Sequence[tuple[str, str]], *, main: str) -> list[str]:
    """Show directories at other places, in order, to this process and its children alone.

    Mounts that others make later are still seen, and so are the sockets for containers. Who may not mount gets a user
    namespace, in which he keeps his number.

    Args:
        shown: pairs of a directory and the mount point over which it is bound.
        main: the mount point without which it is an error.

    Returns:
        The mount points over which nothing could be bound.

    Raises:
        OSError: it is not allowed here; the process may be in new namespaces nevertheless.
    """
    flags = CLONE_NEWNS
    uid, gid = os.getuid(), os.getgid()
    if not may_mount():
        flags |= CLONE_NEWUSER
    unshare(flags)
    if flags & CLONE_NEWUSER:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    mount_filesystem("none", "/", "none", MS_REC | MS_SLAVE, "")
    failed = []
    for source, target in shown:
        port = _open_port(target)
        try:
            bind_mount(source, target)
        except OSError:
            if target == main:
                raise
            failed.append(target)
        else:
            _show_port(port, target)
        finally:
            if port >= 0:
                os.close(port)
    return failed


def _open_port(mountpoint: str) -> int:
    """Return a descriptor of the directory with the mount's socket, before a view covers it; -1 without one."""
    path = os.path.join(mountpoint, NAME)
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if os.path.ismount(path) else -1
    except OSError:
        return -1


def _show_port(port: int, mountpoint: str) -> None:
    """Bind the socket's directory into a view, so that a container that a run starts can commit."""
    if port >= 0:
        with suppress(OSError):
            bind_mount(f"/proc/self/fd/{port}", os.path.join(mountpoint, NAME))
