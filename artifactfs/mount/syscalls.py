"""mount(2), umount2(2) and capabilities, which Python does not have.

Used by `mountpoint`, `staging_mounts` and the overlay driver.

Threading: functions without state.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Final

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8
_CAP_SYS_ADMIN: Final = 21
_CLONE_NEWNS: Final = 0x0002_0000
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
"""These numbers are the same on all architectures since Linux 5.2, but for alpha."""
_AT_FDCWD: Final = -100
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4


def _call(name: str, *args: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def bind_mount(source: str, target: str) -> None:
    """Show the directory `source` at `target` too.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, ENOENT, ENOTDIR.

    Source: mount(2), MS_BIND.
    """
    _call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(MS_BIND), None)


def mount_filesystem(source: str, target: str, fstype: str, flags: int, options: str) -> None:
    """Mount a file system, or change how one is mounted.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, EBUSY, ENODEV, EINVAL, ENOENT.

    Source: mount(2).
    """
    names = (os.fsencode(source), os.fsencode(target), fstype.encode())
    _call("mount", *names, ctypes.c_ulong(flags), os.fsencode(options) if options else None)


def unshare(flags: int) -> None:
    """Leave namespaces that are shared with the parent, for new ones.

    Raises:
        OSError: EPERM where it is not allowed, EINVAL with several threads.

    Source: unshare(2).
    """
    _call("unshare", ctypes.c_int(flags))


def enter_namespace(namespace: int, root: int) -> None:
    """Enter a mount namespace, with a directory of it as root and working directory; both are descriptors.

    The root has to be said, since a process may have been started below another one than that of its namespace.

    Raises:
        OSError: EPERM where it is not allowed, EINVAL when another process shares the working directory.

    Source: setns(2), chroot(2).
    """
    _call("setns", ctypes.c_int(namespace), ctypes.c_int(_CLONE_NEWNS))
    os.fchdir(root)
    os.chroot(".")


def clone_mount(path: str) -> int:
    """Return a descriptor of a new mount of what is mounted on `path`, which is nowhere yet.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, ENOENT.

    Source: open_tree(2).
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    return _call_by_number(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def move_mount(descriptor: int, target: str) -> None:
    """Mount what `clone_mount` returned on a directory.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, ENOENT, ENOTDIR.

    Source: move_mount(2).
    """
    _call_by_number(_SYS_MOVE_MOUNT, descriptor, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)


def _call_by_number(number: int, *args: int | bytes) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    passed = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    found: int = library.syscall(ctypes.c_long(number), *passed)
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return found


def unmount_privileged(target: str, *, lazy: bool = False) -> None:
    """Unmount what is on `target`.

    Raises:
        OSError: EBUSY when it is used, EINVAL when nothing is mounted there, EPERM without CAP_SYS_ADMIN.

    Source: umount2(2).
    """
    _call("umount2", os.fsencode(target), ctypes.c_int(UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)))


def unmount_by_helper(target: str, *, lazy: bool = False) -> str:
    """Unmount as an ordinary user; return what the helper said when it failed, else "".

    Raises:
        FileNotFoundError: neither fusermount3 nor fusermount is installed.

    Source: fusermount3(1).
    """
    arguments = ["-u", *(["-z"] if lazy else []), "--", target]
    try:
        done = subprocess.run(["fusermount3", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        done = subprocess.run(["fusermount", *arguments], capture_output=True, check=False)
    return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip()


def may_mount() -> bool:
    """Return whether this process has CAP_SYS_ADMIN, and so may call mount(2).

    Source: proc_pid_status(5), CapEff.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _CAP_SYS_ADMIN & 1)
