"""Which processes keep an overlay from being read-only, found in /proc for messages.

They have files of it open for writing, or mapped so; or they hold something that was removed, even if only to read it.

A process in a container reaches the overlay by a mount of its own name space, so mounts are told by the device number
that all of them share.

Used when an overlay cannot be frozen.

Threading: functions without state.

Source: proc_pid_fdinfo(5), proc_pid_mountinfo(5), proc_pid_maps(5); sb_prepare_remount_readonly in fs/namespace.c: its
`s_remove_count` counts inodes without a name that are in use.
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
    from collections.abc import Callable, Iterator

_INFO = re.compile(r"^flags:\s*(\d+)$.*?^mnt_id:\s*(\d+)$", re.MULTILINE | re.DOTALL)
_MAPPED: Final = re.compile(rb"^\S+ (\S+) \S+ \S+ \d+ +(/.*)$", re.MULTILINE)
_REMOVED: Final = b" (deleted)"
"""What /proc says behind the path of something that has no name any more."""
_SHOWN: Final = 5
_Mounts = dict[int, str]


@dataclass(frozen=True, slots=True, order=True)
class OpenFile:
    """A file that is open: its path in the staging directory, and by which process."""

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
    return _find(device, _iter_written)


def find_removed(device: str) -> list[OpenFile]:
    """Return the files and directories of an overlay that were removed and are in use, as `find_writers`."""
    return _find(device, _iter_removed)


def _find(device: str, iterate: Callable[[str, _Mounts], Iterator[bytes]]) -> list[OpenFile]:
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
                if known[space]:
                    found.update(OpenFile(path, int(name)) for path in iterate(name, known[space]))
    return sorted(found)


def _find_mounts(process: str, device: str) -> _Mounts:
    return {line.mount_id: line.mountpoint for line in read_mounts(process) if line.device == device}


def describe_writers(device: str, *, asker: int = 0) -> str:
    """Return the files that are open for writing, and processes, for a message, at most five; "" when none can be seen.

    The process that asks for the freeze is left out, unless there is no other.
    """
    return _describe(find_writers(device), asker)


def describe_removed(device: str, *, asker: int = 0) -> str:
    """Return what was removed and is in use, as `describe_writers`."""
    return _describe(find_removed(device), asker)


def _describe(every: list[OpenFile], asker: int) -> str:
    found = [file for file in every if file.pid != asker]
    if not found:
        return ", ".join(f"{printable(file.path)} by this command itself" for file in every[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(str(file) for file in found[:_SHOWN]) + more


def _iter_written(pid: str, mounts: _Mounts) -> Iterator[bytes]:
    for path, flags, mount in _iter_open(pid):
        if flags & os.O_ACCMODE != os.O_RDONLY and mount in mounts:
            yield _inside(path, mounts[mount])
    for rights, path in _iter_mapped(pid):
        if rights[1:2] == b"w" and rights[3:4] == b"s":
            yield from _iter_inside(path, mounts)


def _iter_removed(pid: str, mounts: _Mounts) -> Iterator[bytes]:
    for path, _, mount in _iter_open(pid):
        if path.endswith(_REMOVED) and mount in mounts:
            yield _inside(path, mounts[mount])
    held = [path for _, path in _iter_mapped(pid)]
    for name in ("cwd", "root", "exe"):
        with suppress(OSError):
            held.append(os.readlink(os.fsencode(f"/proc/{pid}/{name}")))
    for path in held:
        if path.endswith(_REMOVED):
            yield from _iter_inside(path, mounts)


def _iter_open(pid: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield path, flags and number of the mount of what a process has open."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            flags, mount = _read_info(f"/proc/{pid}/fdinfo/{number}")
            yield os.readlink(os.fsencode(f"/proc/{pid}/fd/{number}")), flags, mount


def _iter_mapped(pid: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield rights (`rw-s`) and path of what a process has mapped."""
    for match in _MAPPED.finditer(Path(f"/proc/{pid}/maps").read_bytes()):
        yield match[1], match[2]


def _iter_inside(path: bytes, mounts: _Mounts) -> Iterator[bytes]:
    """Yield the path below the mount that it begins with, if there is one."""
    top = next((top for top in mounts.values() if path.startswith(os.fsencode(top) + b"/")), None)
    if top is not None:
        yield _inside(path, top)


def _read_info(path: str) -> tuple[int, int]:
    match = _INFO.search(Path(path).read_text())
    return (int(match[1], 8), int(match[2])) if match is not None else (os.O_RDONLY, -1)


def _inside(path: bytes, mountpoint: str) -> bytes:
    """Return the path below a mount point, without what /proc says of removed files."""
    return path.removeprefix(os.fsencode(mountpoint) + b"/").removesuffix(_REMOVED)
