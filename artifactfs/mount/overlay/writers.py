"""Which processes have files of an overlay open for writing, or mapped so: found in /proc, for messages.

A process in a container reaches the overlay by a mount of its own name space, so mounts are told by the device number
that all of them share.

Used when an overlay cannot be frozen.

Threading: functions without state.

Source: proc_pid_fdinfo(5), proc_pid_mountinfo(5), proc_pid_maps(5).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from artifactfs.mount.mountinfo import read_mounts
from artifactfs.mount.users import command_of
from artifactfs.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_INFO = re.compile(r"^flags:\s*(\d+)$.*?^mnt_id:\s*(\d+)$", re.MULTILINE | re.DOTALL)
_MAPPED: Final = re.compile(rb"^\S+ .w.s \S+ (\S+) \d+ +(/.*)$", re.MULTILINE)
_SHOWN: Final = 5
_Mounts = dict[int, str]


@dataclass(frozen=True, slots=True, order=True)
class OpenFile:
    """A file that is open for writing: its path in the staging directory, and by which process."""

    path: bytes
    pid: int

    def __str__(self) -> str:
        """Return the text for a message."""
        return f"{printable(self.path)} by process {self.pid} ({command_of(self.pid)})"


def find_writers(device: str) -> list[OpenFile]:
    """Return the files of an overlay that are open for writing, of processes that this user may look at.

    Args:
        device: the overlay's device number, as mountinfo tells it (`0:57`).
    """
    found: set[OpenFile] = set()
    known: dict[str, _Mounts] = {}
    own = os.readlink("/proc/self/ns/mnt")
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):  # it has just ended
                space = os.readlink(f"/proc/{name}/ns/mnt")
                if space not in known:
                    known[space] = _find_mounts(name, device)
                    if space == own:  # paths in /proc begin at the reader's root, which need not be the process's
                        known[space] |= _find_mounts("self", device)
                found.update(OpenFile(path, int(name)) for path in _iter_written(name, known[space]))
    return sorted(found)


def _find_mounts(process: str, device: str) -> _Mounts:
    return {line.mount_id: line.mountpoint for line in read_mounts(process) if line.device == device}


def describe_writers(device: str, *, asker: int = 0) -> str:
    """Return the files and processes for a message, at most five; "" when none can be seen.

    The process that asks for the freeze is left out, unless there is no other.
    """
    every = find_writers(device)
    found = [file for file in every if file.pid != asker]
    if not found:
        return ", ".join(f"{printable(file.path)} by this command itself" for file in every[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(str(file) for file in found[:_SHOWN]) + more


def _iter_written(pid: str, mounts: _Mounts) -> Iterator[bytes]:
    if not mounts:
        return
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            flags, mount = _read_info(f"/proc/{pid}/fdinfo/{number}")
            if flags & os.O_ACCMODE != os.O_RDONLY and mount in mounts:
                yield _inside(os.readlink(os.fsencode(f"/proc/{pid}/fd/{number}")), mounts[mount])
    for match in _MAPPED.finditer(Path(f"/proc/{pid}/maps").read_bytes()):
        top = next((top for top in mounts.values() if match[2].startswith(os.fsencode(top) + b"/")), None)
        if top is not None:
            yield _inside(match[2], top)


def _read_info(path: str) -> tuple[int, int]:
    match = _INFO.search(Path(path).read_text())
    return (int(match[1], 8), int(match[2])) if match is not None else (os.O_RDONLY, -1)


def _inside(path: bytes, mountpoint: str) -> bytes:
    """Return the path below a mount point, without what /proc says of deleted files."""
    return path.removeprefix(os.fsencode(mountpoint) + b"/").removesuffix(b" (deleted)")
