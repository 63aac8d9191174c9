"""What on this machine decides whether mounts work, and the mend for what does not.

Used by `api` for `artifactfs doctor`.

Threading: functions without state.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from artifactfs.mount.fusedevice import CONTAINER, DEVICE, look_at_device
from artifactfs.mount.fusepy.library import MEND_FUSEPY, MEND_LIBRARY, find_libfuse
from artifactfs.mount.mountinfo import read_mounts
from artifactfs.mount.options import Finding, Places
from artifactfs.mount.registry import is_served, slot_for
from artifactfs.mount.syscalls import may_mount
from artifactfs.mount.wakeups import should_hasten, wakes_slowly
from artifactfs.paths import printable

MOUNT_TABLE = "/etc/mtab"
FUSE_CONF = "/etc/fuse.conf"
_OLDEST_KERNEL = (5, 10)


def diagnose(places: Places, *, device: str = DEVICE, fuse_conf: str = FUSE_CONF) -> list[Finding]:
    """Return the findings, in the order in which they should be mended."""
    findings = [_look_at_system()]
    if not sys.platform.startswith("linux"):
        return findings
    findings += [
        look_at_device(device),
        _look_at_library(),
        _look_at_fusepy(),
        _look_at_right(),
        _look_at_allow_other(fuse_conf),
        _look_at_binding(),
        look_at_table(),
        _look_at_wakeups(),
        _look_at_folder("runtime", places.runtime),
        _look_at_folder("state", places.state),
    ]
    return findings + _look_at_dead(places)


def _look_at_system() -> Finding:
    if not sys.platform.startswith("linux"):
        return Finding("system", ok=False, message=f"{sys.platform} cannot mount", mend="mounts need Linux")
    release = platform.release()
    numbers = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if numbers < _OLDEST_KERNEL:
        return Finding("system", ok=False, message=f"Linux {release} is too old", mend="use Linux 5.10 or newer")
    return Finding("system", ok=True, message=f"Linux {release}")


def _look_at_library() -> Finding:
    name = find_libfuse()
    if name is None:
        return Finding("libfuse", ok=False, message="libfuse 2 is not installed", mend=MEND_LIBRARY)
    return Finding("libfuse", ok=True, message=f"{name} is installed")


def _look_at_fusepy() -> Finding:
    if importlib.util.find_spec("fuse") is None:
        return Finding("fusepy", ok=False, message="fusepy is not installed", mend=MEND_FUSEPY)
    return Finding("fusepy", ok=True, message="fusepy is installed")


def _look_at_right() -> Finding:
    if may_mount():
        return Finding("right", ok=True, message="this user may mount directly")
    if os.geteuid() == 0:
        message = "root without CAP_SYS_ADMIN may not mount"
        return Finding("right", ok=False, message=message, mend=CONTAINER)
    helper = shutil.which("fusermount")
    if helper is None:
        message = "ordinary users mount through fusermount, which is not installed"
        return Finding("right", ok=False, message=message, mend="apt-get install fuse3")
    if not os.stat(helper).st_mode & 0o4000:
        message = f"{helper} is not setuid root, so it cannot mount for ordinary users"
        return Finding("right", ok=False, message=message, mend=f"run as root: chmod u+s {helper}")
    return Finding("right", ok=True, message=f"ordinary users mount through {helper}")


def _look_at_allow_other(fuse_conf: str) -> Finding:
    if os.geteuid() == 0:
        return Finding("allow-other", ok=True, message="root may use --allow-other")
    try:
        lines = Path(fuse_conf).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    if any(line.strip() == "user_allow_other" for line in lines):
        return Finding("allow-other", ok=True, message="ordinary users may use --allow-other")
    # Not a fault: only --allow-other needs it.
    message = f"--allow-other would be refused: {fuse_conf} lacks user_allow_other"
    return Finding("allow-other", ok=True, message=message)


def _look_at_binding() -> Finding:
    if may_mount():
        return Finding("staging", ok=True, message="staging directories are bound into the mount")
    message = "staging directories show as symbolic links (binding needs CAP_SYS_ADMIN)"
    return Finding("staging", ok=True, message=message)


def look_at_table(path: str = MOUNT_TABLE) -> Finding:
    """Return whether fusermount finds the mount table that it reads when an ordinary user unmounts."""
    if may_mount() or os.path.exists(path):
        return Finding("table", ok=True, message="mounts can be unmounted")
    mend = f"run as root: ln -s ../proc/self/mounts {path}"
    return Finding("table", ok=False, message=f"{path} is missing, so fusermount cannot unmount", mend=mend)


def _look_at_wakeups() -> Finding:
    if not wakes_slowly():
        return Finding("wake-ups", ok=True, message="idle processors wake quickly, or nothing is known against it")
    if should_hasten(None):
        return Finding("wake-ups", ok=True, message="idle processors wake slowly; a busy mount keeps them awake")
    # Not a fault: it works, but slower.
    message = "idle processors wake slowly, and only a mount by root can keep them awake: docs/operations.md"
    return Finding("wake-ups", ok=True, message=message)


def _look_at_folder(name: str, path: str) -> Finding:
    existing = path
    while not os.path.lexists(existing) and existing != os.path.dirname(existing):
        existing = os.path.dirname(existing)
    shown = printable(os.fsencode(path))
    if not os.path.isdir(existing):
        return Finding(name, ok=False, message=f"{shown} is not a directory", mend=f"remove {existing}")
    if not os.access(existing, os.W_OK | os.X_OK):
        message = f"{shown} cannot be written by this user"
        return Finding(name, ok=False, message=message, mend=f"chown it, or set ARTIFACTFS_{name.upper()}")
    return Finding(name, ok=True, message=shown)


def _look_at_dead(places: Places) -> list[Finding]:
    """Return this user's mounts without a server. Only locks are looked at: a mount that hangs would hang `doctor`."""
    slots = {line.mountpoint: slot_for(places, line.mountpoint) for line in read_mounts() if line.is_ours}
    dead = [path for path, slot in slots.items() if os.path.exists(slot.lock) and not is_served(slot)]
    return [
        Finding("mount", ok=False, message=f"{path} is a dead mount", mend=f"artifactfs umount {path}") for path in dead
    ]
