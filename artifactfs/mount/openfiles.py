"""Which files of a mount are open, and in which programs, as the kernel lists them: the mount itself is not asked.

Used by `serve`. Threading: a function without state.
Source: proc(5), `/proc/<pid>/fd` and `/proc/<pid>/fdinfo`, whose member `ino` came with Linux 5.14.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that a program has open.

    Attributes:
        node: its inode.
        path: in the mount.
        pid: of the program.
        program: its name.
    """

    node: int
    path: bytes
    pid: int
    program: str


def find_open_files(mountpoint: str, nodes: Collection[int]) -> dict[int, OpenFile]:
    """Return those of some inodes of a mount that a program has open which this user may look at."""
    found: dict[int, OpenFile] = {}
    prefix = os.fsencode(mountpoint).rstrip(b"/") + b"/"
    with suppress(OSError):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if len(found) == len(set(nodes)):
                break
            for number, path in _iter_paths(pid, prefix):
                node = _find_inode(pid, number)
                if node in nodes and node not in found:
                    found[node] = OpenFile(node, path, int(pid), _find_program(pid))
    return found


def _iter_paths(pid: str, prefix: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield descriptors and paths of what a process has open below a directory."""
    with suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                path = os.readlink(os.fsencode(f"/proc/{pid}/fd/{number}"))
                if path.startswith(prefix):
                    yield number, path.removeprefix(prefix)


def _find_inode(pid: str, number: str) -> int:
    with suppress(OSError, ValueError), open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
        for line in file:
            if line.startswith("ino:"):
                return int(line.split()[1])
    return 0


def _find_program(pid: str) -> str:
    with suppress(OSError), open(f"/proc/{pid}/comm", "rb") as file:
        return file.read().decode("utf-8", "replace").strip()
    return ""
