"""Open files of a union, by handle. What was opened stays readable and writable when its name goes.

A handle on a file of the version reads it there, and in the upper directory from when somebody has it copied up: who
follows a log sees what is appended. (The kernel's overlayfs goes on showing the old file.)

Used by the union. Threading: shared by threads; a handle is closed once, by the kernel's last release.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.vfs.union.resolving import fail

if TYPE_CHECKING:
    from artifactfs.repository.lower import LowerEntry
    from artifactfs.repository.repository import ReadableFile
    from artifactfs.vfs.union.room import Room


@dataclass(slots=True)
class OpenFile:
    """An open file. Changed by `OpenFiles` only.

    Attributes:
        descriptor: in the upper directory; goes before `content`.
        content: of the version.
        lower: the entry of the version, as long as the name shows it.
        is_writable: whether it was opened for writing.
        may_be_far: whether reading it may have to ask the network.
    """

    descriptor: int | None = None
    content: ReadableFile | None = None
    lower: LowerEntry | None = None
    is_writable: bool = False
    may_be_far: bool = False


class OpenFiles:
    """The table of handles. Shared by threads."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._guard = threading.Lock()
        self._files: dict[int, OpenFile] = {}
        self._by_lower: dict[bytes, set[int]] = {}
        self._handles = itertools.count(1)

    def add_upper(self, descriptor: int, *, is_writable: bool) -> int:
        """Return a new handle for a file that is open in the upper directory."""
        with self._guard:
            handle = next(self._handles)
            self._files[handle] = OpenFile(descriptor, is_writable=is_writable)
            self._room.note_open(descriptor)
        return handle

    def reserve(self, lower: LowerEntry, *, may_be_far: bool) -> int:
        """Return a new handle for a file of the version, which `fill` completes."""
        with self._guard:
            handle = next(self._handles)
            self._files[handle] = OpenFile(lower=lower, may_be_far=may_be_far)
            self._by_lower.setdefault(lower.path, set()).add(handle)
        return handle

    def fill(self, handle: int, content: ReadableFile) -> None:
        """Complete a reserved handle."""
        with self._guard:
            self._files[handle].content = content

    def move_up(self, lower_path: bytes, upper: bytes) -> None:
        """Let handles on a file of the version go on with its copy; without descriptors left they stay."""
        with self._guard, suppress(OSError):
            for handle in self._by_lower.pop(lower_path, ()):
                file = self._files[handle]
                file.descriptor = os.open(upper, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                file.lower, file.may_be_far = None, False
                self._room.note_open(file.descriptor)

    def get(self, handle: int) -> OpenFile:
        """Return an open file.

        Raises:
            OSError: EBADF: there is no such handle.
        """
        found = self._files.get(handle)
        if found is None:
            raise fail(errno.EBADF)
        return found

    def remove(self, handle: int) -> None:
        """Close a handle; one that is not open is no error."""
        with self._guard:
            found = self._files.pop(handle, None)
            if found is None:
                return
            if found.lower is not None:
                self._forget_lower(found.lower.path, handle)
        if found.descriptor is not None:
            self._room.close(found.descriptor)
        if found.content is not None:
            found.content.close()

    def limit(self, quota: int | None) -> None:
        """Set the quota; None for no limit."""
        with self._guard:
            found = [file.descriptor for file in self._files.values() if file.descriptor is not None]
            self._room.limit(quota, found)

    def close(self) -> None:
        """Close all handles."""
        for handle in list(self._files):
            self.remove(handle)

    def read(self, handle: int, *, offset: int, size: int) -> bytes:
        """Return the overlap of a range with an open file.

        Raises:
            OSError: EBADF, EIO.
            IntegrityError: the version's content is damaged.
        """
        file = self.get(handle)
        if file.descriptor is not None:
            return os.pread(file.descriptor, size, offset)
        if file.content is None:
            raise fail(errno.EBADF)
        return file.content.read_at(offset, size)

    def write(self, handle: int, data: bytes, *, offset: int) -> int:
        """Write bytes to an open file, and return how many: fewer than given when the disk filled on the way.

        Raises:
            OSError: EBADF: it is not open for writing; ENOSPC; EDQUOT; EFBIG. Nothing was written.
        """
        descriptor = self._writable(handle, errno.EBADF)
        if not self._room.is_limited:
            return _write(descriptor, data, offset)
        with self._room.writing(descriptor, offset=offset, size=len(data)) as size:
            return _write(descriptor, data[:size], offset)

    def truncate(self, handle: int, size: int) -> None:
        """Set the size of an open file.

        Raises:
            OSError: EBADF, EINVAL: it is not open for writing.
        """
        descriptor = self._writable(handle, errno.EINVAL)
        with self._room.changing(descriptor):
            os.ftruncate(descriptor, size)

    def sync(self, handle: int, *, data_only: bool) -> None:
        """Make an open file durable."""
        file = self.get(handle)
        if file.descriptor is not None:
            (os.fdatasync if data_only else os.fsync)(file.descriptor)

    def _writable(self, handle: int, number: int) -> int:
        file = self.get(handle)
        if file.descriptor is None or not file.is_writable:
            raise fail(number)
        return file.descriptor

    def _forget_lower(self, path: bytes, handle: int) -> None:
        handles = self._by_lower.get(path, set())
        handles.discard(handle)
        if not handles:
            self._by_lower.pop(path, None)


def _write(descriptor: int, data: bytes, offset: int) -> int:
    written = 0
    while written < len(data):
        # pwrite on a descriptor opened with O_APPEND appends, so those are opened without it, and the kernel
        # that asks has worked out the offset.
        try:
            written += os.pwrite(descriptor, data[written:] if written else data, offset + written)
        except OSError:
            if not written:
                raise
            break
    return written
