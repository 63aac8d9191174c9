"""A disk that forgets: what was not made durable is gone after a crash, and a crash can be had at any step.

It is a `Disk` for `LocalStore`, in memory. Two kinds of crash are worth trying, because file systems differ in what
they write early: one that keeps no name that was not made durable, and one that keeps all names but not the bytes
behind them.

Threading: belongs to one thread.
"""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class CrashError(BaseException):
    """The machine lost power. Not an `Exception`: nothing may handle it."""


class _Inode:
    """A file: its bytes now, and those that survive a crash (None: never made durable)."""

    def __init__(self, data: bytes, durable: bytes | None = None, *, number: int) -> None:
        self.data = data
        self.durable = durable
        self.number = number


class ForgetfulFile:
    """An open file of a `ForgetfulDisk`."""

    def __init__(self, data: bytes, signature: bytes) -> None:
        self._data = data
        self._signature = signature
        self.size = len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the file."""
        return self._data[offset : offset + size]

    def extent(self) -> tuple[int, int] | None:
        """Return None: there is no descriptor."""
        return None

    def signature(self) -> bytes:
        """Return bytes that change when the file is replaced or written to."""
        return self._signature

    def close(self) -> None:
        """Do nothing."""


class ForgetfulDisk:
    """A `Disk` in memory. Belongs to one thread.

    Attributes:
        steps: changes and synchronisations so far.
        crash_at: step at which the power goes, before it takes effect; None for never.
        room: bytes that may still be written; None for any number.
        full_at: step from which on nothing finds room any more; removing needs none. None for never.
        fails_once: only the step `full_at` fails, as when somebody else makes room.
    """

    def __init__(self, *, crash_at: int | None = None, room: int | None = None) -> None:
        self.steps = 0
        self.crash_at = crash_at
        self.room = room
        self.full_at: int | None = None
        self.fails_once = False
        self._numbers = itertools.count(1)
        self._files: dict[str, _Inode] = {}
        self._durable: dict[str, _Inode] = {}
        self._directories: set[str] = {""}
        self._durable_directories: set[str] = {""}

    def after_crash(self, *, keeps_names: bool) -> ForgetfulDisk:
        """Return the disk as it is when the machine is up again.

        Args:
            keeps_names: False: only durable names are left. True: all names are, and files whose bytes were not made
                durable are empty.
        """
        disk = ForgetfulDisk()
        disk._numbers = self._numbers
        directories = self._directories if keeps_names else self._durable_directories
        disk._directories = {path for path in directories if _ancestors(path) <= directories}
        names = {**self._durable, **self._files} if keeps_names else self._durable
        if keeps_names:
            names = {path: inode for path, inode in names.items() if path in self._files or path not in self._durable}
        for path, inode in names.items():
            if _parent(path) in disk._directories:
                data = inode.durable or b""
                disk._files[path] = _Inode(data, data, number=inode.number)
        disk.sync_all()
        disk.steps = 0
        return disk

    def close(self) -> None:
        """Do nothing."""

    def read_file(self, path: str) -> bytes:
        """Return all bytes of a file."""
        return self._get(path).data

    def open_file(self, path: str) -> ForgetfulFile:
        """Return a file, open for reading."""
        return ForgetfulFile(self._get(path).data, self.find_signature(path))

    def find_size(self, path: str) -> int | None:
        """Return the size of a file, or None when there is none."""
        inode = self._files.get(path)
        return None if inode is None else len(inode.data)

    def find_signature(self, path: str) -> bytes:
        """Return the signature of a file; b"" when there is none."""
        inode = self._files.get(path)
        return b"" if inode is None else b"%d:%d" % (inode.number, hash(inode.data))

    def has_root(self, path: str) -> bool:  # noqa: ARG002
        """Return True: this disk is never taken away."""
        return True

    def list_directory(self, path: str) -> list[tuple[str, bool]]:
        """Return name and whether it is a directory, for each entry."""
        prefix = path + "/"
        files = [(name[len(prefix) :], False) for name in self._files if _parent(name) == path]
        return files + [(name[len(prefix) :], True) for name in self._directories if name and _parent(name) == path]

    def has_file(self, path: str) -> bool:
        """Return whether there is a file in a directory, or below it."""
        return any(name.startswith(path + "/") for name in self._files)

    def create_file(self, path: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Make a new file with these bytes and return its size."""
        self._step(needs_room=True)
        self._need_directory(path)
        data = b"".join(bytes(chunk) for chunk in chunks)
        if self.room is not None:
            if len(data) > self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            self.room -= len(data)
        self._files[path] = _Inode(data, number=next(self._numbers))
        return len(data)

    def clone_file(self, path: str, descriptor: int) -> int | None:
        """Return None: it shares no blocks."""

    def make_directory(self, path: str) -> bool:
        """Make a directory and return whether this call made it."""
        self._step(needs_room=True)
        self._need_directory(path)
        made = path not in self._directories
        self._directories.add(path)
        return made

    def rename_new(self, source: str, target: str) -> bool:
        """Rename a file unless `target` exists."""
        self._step(needs_room=True)
        self._need_directory(target)
        if target in self._files:
            return False
        self._files[target] = self._files.pop(source)
        return True

    def replace(self, source: str, target: str) -> None:
        """Rename a file over `target`."""
        self._step(needs_room=True)
        self._files[target] = self._files.pop(source)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._step()
        self._files.pop(path, None)

    def remove_directory(self, path: str) -> None:
        """Remove a directory if it is there and empty."""
        self._step()
        if path in self._directories and not self.list_directory(path):
            self._directories.discard(path)

    def sync_file(self, path: str) -> None:
        """Make the bytes of a file durable."""
        self._step(needs_room=True)
        inode = self._get(path)
        inode.durable = inode.data

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        self._step(needs_room=True)
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        for known in (self._durable, self._files):
            for name in [name for name in known if _parent(name) == path]:
                self._make_durable(name)
        self._durable_directories |= {name for name in self._directories if name and _parent(name) == path}

    def sync_all(self) -> bool:
        """Make everything durable."""
        self._step(needs_room=True)
        for inode in self._files.values():
            inode.durable = inode.data
        self._durable = dict(self._files)
        self._durable_directories = set(self._directories)
        return True

    def damage(self, path: str, data: bytes) -> None:
        """Put other bytes into a file, as a failing disk would."""
        inode = self._get(path)
        inode.data = inode.durable = data

    def paths(self) -> list[str]:
        """Return the paths of all files."""
        return sorted(self._files)

    def _step(self, *, needs_room: bool = False) -> None:
        if self.crash_at is not None and self.steps >= self.crash_at:
            raise CrashError
        step, self.steps = self.steps, self.steps + 1
        is_full = self.full_at is not None and (step == self.full_at if self.fails_once else step >= self.full_at)
        if is_full and needs_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _get(self, path: str) -> _Inode:
        found = self._files.get(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return found

    def _make_durable(self, name: str) -> None:
        if name in self._files:
            self._durable[name] = self._files[name]
        else:
            del self._durable[name]

    def _need_directory(self, path: str) -> None:
        if _parent(path) not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


class CountingScratch:
    """Names for temporary files, below a directory that is there. Belongs to one thread."""

    def __init__(self, disk: ForgetfulDisk, directory: str) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        disk.make_directory(directory)

    def new_path(self) -> str:
        """Return a path at which nothing is."""
        return f"{self._directory}/{next(self._numbers)}-{id(self)}"

    def close(self) -> None:
        """Do nothing."""


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _ancestors(path: str) -> set[str]:
    found = set()
    while path:
        path = _parent(path)
        found.add(path)
    return found
