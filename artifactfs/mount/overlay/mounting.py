"""mount(2) of an overlay, and turning it read-only and back.

The paths go into one option string, in which a comma ends an option and a colon a lower directory, so both are escaped.

Used by the overlay's server.

Threading: functions without state.

Source: Documentation/filesystems/overlayfs.rst; fs/overlayfs/params.c.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from artifactfs.errors import MountError
from artifactfs.mount.mountinfo import OVERLAY_SOURCE, OVERLAY_TYPE
from artifactfs.mount.syscalls import MS_BIND, MS_NODEV, MS_NOSUID, MS_RDONLY, MS_REMOUNT, may_mount, mount_filesystem

if TYPE_CHECKING:
    from collections.abc import Sequence

FIXED_OPTIONS: Final = ("redirect_dir=on", "metacopy=off", "index=off", "nfs_export=off", "xino=off")
"""Spelt out, because distributions choose other defaults: with metacopy a chmod would leave a file without its data."""
_WHOLE_USER_NAMESPACE: Final = ["0", "0", "4294967295"]
_SPECIAL = re.compile(r"([\\,:])")


@dataclass(frozen=True, slots=True)
class OverlayPaths:
    """What an overlay is made of; `work` is on the file system of `upper`, and empty."""

    lower: str
    upper: str
    work: str


def may_overlay() -> bool:
    """Return whether this process may mount an overlay with `trusted.*` marks.

    That needs CAP_SYS_ADMIN in the initial user namespace: in another one, mount(2) works but the marks do not.

    Source: user_namespaces(7), uid_map; xattr(7), trusted.
    """
    try:
        mapped = Path("/proc/self/uid_map").read_text().split()
        known = Path("/proc/filesystems").read_text().split()
    except OSError:
        return False
    return may_mount() and mapped == _WHOLE_USER_NAMESPACE and (OVERLAY_TYPE in known or _is_module())


def _is_module() -> bool:
    """Return whether overlayfs is a module that mount(2) loads."""
    return Path(f"/lib/modules/{os.uname().release}/kernel/fs/overlayfs").is_dir()


def encode_options(paths: OverlayPaths, more: Sequence[str]) -> str:
    """Return the option string of an overlay."""
    named = (("lowerdir", paths.lower), ("upperdir", paths.upper), ("workdir", paths.work))
    return ",".join([*(f"{key}={_escaped(path)}" for key, path in named), *more])


def mount_overlay(paths: OverlayPaths, mountpoint: str, *, is_read_only: bool = False) -> None:
    """Mount an overlay.

    Raises:
        MountError: the system refuses; EINVAL is a file system that cannot hold an upper directory.
    """
    try:
        flags = MS_NOSUID | MS_NODEV | (MS_RDONLY if is_read_only else 0)
        mount_filesystem(OVERLAY_SOURCE, mountpoint, OVERLAY_TYPE, flags, encode_options(paths, FIXED_OPTIONS))
        if is_read_only:
            _let_binds_write(mountpoint)
    except OSError as error:
        msg = f"mounting an overlay on {mountpoint} failed: {error.strerror}"
        hint = "--driver union works on every file system; the kernel's log may say more (dmesg)"
        raise MountError(msg, hint=hint, subject=mountpoint) from error


def _escaped(path: str) -> str:
    return _SPECIAL.sub(r"\\\1", path)


def make_read_only(mountpoint: str) -> None:
    """Let nothing be changed any more, and write out what was: by whatever path the overlay is reached.

    Raises:
        OSError: EBUSY when a file is open for writing, or mapped so.

    Source: mount(2), MS_REMOUNT; sb_prepare_remount_readonly in fs/namespace.c, ovl_reconfigure in
    fs/overlayfs/super.c.
    """
    mount_filesystem("none", mountpoint, "none", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, "")
    _let_binds_write(mountpoint)


def _let_binds_write(mountpoint: str) -> None:
    """Leave only the file system read-only, not its mount: a bind that is made of that meanwhile would stay so."""
    mount_filesystem("none", mountpoint, "none", MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV, "")


def make_writable(mountpoint: str) -> None:
    """Let changes through again.

    Raises:
        OSError: it is not mounted any more.
    """
    mount_filesystem("none", mountpoint, "none", MS_REMOUNT | MS_NOSUID | MS_NODEV, "")
