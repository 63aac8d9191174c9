"""Who uses a mount, found in /proc without touching the mount.

Used for messages by `mountpoint`, `unmounting` and `freezing`, and by `shown`.

Threading: functions without state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from artifactfs.mount.mountinfo import read_mounts
from artifactfs.paths import printable
from artifactfs.repository.runviews import NAME_PREFIX

_SHOWN = 5
_VIEW_ROOT = "/" + NAME_PREFIX.decode()


@dataclass(frozen=True, slots=True)
class User:
    """A process, its command's name, and the path of one file or directory that it holds."""

    pid: int
    command: str
    path: str

    def __str__(self) -> str:
        """Return the text for a message."""
        return f"process {self.pid} ({self.command}) with {printable(os.fsencode(self.path))}"


def command_of(pid: int) -> str:
    """Return the name of a process's command; `?` when it is gone or in another name space."""
    try:
        return printable(Path(f"/proc/{pid}/comm").read_bytes().strip())
    except OSError:
        return "?"


def iter_users(mountpoint: str) -> Iterator[User]:
    """Yield the processes that have their working directory, root, program or an open file on a mount.

    Only processes that this user may look at are seen. Each appears once; the caller itself does not.

    Source: proc_pid_fd(5), proc_pid_cwd(5): readlink there does not touch the target.
    """
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            held = next((path for path in _iter_held(name) if _is_inside(path, mountpoint)), None)
            if held is not None:
                yield User(int(name), command_of(int(name)), held)


def iter_viewers(device: str) -> Iterator[User]:
    """Yield the processes that see a run's view of a mount, in a mount namespace of their own, whatever they hold.

    Args:
        device: the mount's device number, as the list of mounts has it.

    Source: proc_pid_mountinfo(5): the root of a bound mount is the path that is bound.
    """
    seen: dict[int, str | None] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError):  # it has ended, or is another user's
                namespace = os.stat(f"/proc/{name}/ns/mnt").st_ino
                if namespace not in seen:
                    seen[namespace] = _find_view(name, device)
                view = seen[namespace]
                if view is not None:
                    yield User(int(name), command_of(int(name)), view)


def _find_view(pid: str, device: str) -> str | None:
    lines = [line for line in read_mounts(pid) if line.device == device]
    return next((line.mountpoint for line in lines if line.root.startswith(_VIEW_ROOT)), None)


def iter_held_paths() -> Iterator[str]:
    """Yield the paths that any process has as working directory, root, program or open file, this one's too."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield from _iter_held(name)


def _is_inside(path: str, mountpoint: str) -> bool:
    return path == mountpoint or path.startswith(mountpoint.rstrip("/") + "/")


def _iter_held(pid: str) -> Iterator[str]:
    for link in ("cwd", "root", "exe"):
        with suppress(OSError):
            yield os.readlink(f"/proc/{pid}/{link}")
    for folder in ("fd", "map_files"):
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/{folder}"):
                with suppress(OSError):
                    yield os.readlink(f"/proc/{pid}/{folder}/{name}")


def describe_users(mountpoint: str) -> str:
    """Return the users of a mount for a message, at most five; "" when none can be seen."""
    users = list(iter_users(mountpoint))
    text = ", ".join(str(user) for user in users[:_SHOWN])
    return f"{text} and {len(users) - _SHOWN} more" if len(users) > _SHOWN else text
