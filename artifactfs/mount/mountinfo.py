"""What is mounted where, as the kernel lists it. Reading the list touches no mount.

Used by `mountpoint`, `registry` and `staging_mounts`.

Threading: functions without state.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FSTYPE: Final = "fuse.artifactfs"
OVERLAY_TYPE: Final = "overlay"
OVERLAY_SOURCE: Final = "artifactfs"
"""What the list of mounts says that the overlay of a staging directory is a mount of."""
PORT_TYPE: Final = "tmpfs"
PORT_SOURCE: Final = "artifactfs"
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountLine:
    """One mount: id, parent's id, what it is on, what is shown of it (`root`), type, device number."""

    mount_id: int
    parent_id: int
    device: str
    root: str
    mountpoint: str
    fstype: str
    source: str

    @property
    def is_ours(self) -> bool:
        """Whether it is one of artifactfs, whoever made it."""
        return self.fstype == FSTYPE or self.is_overlay or self.is_port

    @property
    def is_overlay(self) -> bool:
        """Whether it is a staging directory served by the kernel's overlayfs."""
        return (self.fstype, self.source) == (OVERLAY_TYPE, OVERLAY_SOURCE)

    @property
    def is_port(self) -> bool:
        """Whether it holds the socket for containers."""
        return (self.fstype, self.source) == (PORT_TYPE, PORT_SOURCE)


def read_mounts(process: str = "self") -> list[MountLine]:
    """Return all mounts of a process's name space, in the kernel's order; [] where there is no /proc.

    Source: proc_pid_mountinfo(5).
    """
    try:
        lines = Path(f"/proc/{process}/mountinfo").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [parse_mount(line) for line in lines]


def parse_mount(line: bytes) -> MountLine:
    r"""Return one line of mountinfo.

    >>> line = b"36 35 0:98 / /mnt/a\\040b ro,nosuid shared:1 - fuse.artifactfs artifactfs ro"
    >>> parse_mount(line).mountpoint
    '/mnt/a b'
    """
    before, _, after = line.partition(b" - ")
    fields, tail = before.split(b" "), after.split(b" ")
    root, mountpoint = (os.fsdecode(_unescape(fields[index])) for index in (3, 4))
    fstype, source = (os.fsdecode(_unescape(field)) for field in tail[:2])
    return MountLine(int(fields[0]), int(fields[1]), fields[2].decode(), root, mountpoint, fstype, source)


def _unescape(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)


def find_mount(mountpoint: str) -> MountLine | None:
    """Return the topmost mount on exactly `mountpoint`, or None."""
    return next((line for line in reversed(read_mounts()) if line.mountpoint == mountpoint), None)


def mounts_below(mountpoint: str) -> list[MountLine]:
    """Return the mounts inside the directory `mountpoint`, innermost and newest first."""
    prefix = mountpoint.rstrip("/") + "/"
    return [line for line in reversed(read_mounts()) if line.mountpoint.startswith(prefix)]


def is_mounted(mountpoint: str, device: str) -> bool:
    """Return whether the file system of a device number is mounted on a path, maybe covered. Cheap with many mounts."""
    field = f" {device} ".encode()
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except FileNotFoundError:
        return False
    return any(parse_mount(line).mountpoint == mountpoint for line in lines if field in line)
