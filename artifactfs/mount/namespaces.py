"""A program that sees a directory in the place of a mount, and nobody else does: a mount namespace of its own.

Used by whoever runs programs in the view of a run. Threading: `enter` is called in a forked child, before exec.

Source: unshare(2), mount_namespaces(7), user_namespaces(7).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from artifactfs.mount.syscalls import bind_mount, may_mount, mount_filesystem, unshare

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUSER: Final = 0x1000_0000
MS_REC: Final = 16384
MS_SLAVE: Final = 1 << 19


def enter(source: str, target: str) -> None:
    """Show `source` at `target` to this process and its children alone.

    Mounts that others make later are still seen. Who may not mount gets a user namespace, in which he keeps his number.

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
    bind_mount(source, target)
