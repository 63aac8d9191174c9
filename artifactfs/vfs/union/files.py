"""Open files of a union, by handle. What was opened stays readable and writable when its name goes.

A handle on a file of the version reads it there, also after somebody else has copied it up: as overlayfs does.

Used by the union. Threading: shared by threads; a handle is closed once, by the kernel's last release.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from artifactfs.vfs.union.resolving import fail

if TYPE_CHECKING:
    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.repository.lower import LowerEntry


class OpenFile(NamedTuple):
    """An open file: a descriptor in the upper directory, or content of the version."""

    descriptor: int | None
    content: ReadableFile | None
    lower: LowerEntry | None
    is_writable: bool


class OpenFiles:
    """The table of handles. Shared by threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._files: dict[int, OpenFile] = {}
        self._handles = itertools.count(1)

    def add(self, file: OpenFile) -> int:
        """Return a new handle for an open file."""
        with self._guard:
            handle = next(self._handles)
            self._files[handle] = file
        return handle

    def get(self, handle: int) -> OpenFile:
        """Return an open file.

        Raises:
            OSError: EBADF: there is no such handle.
        """
        found = self._files.get(handle)
        if found is None:
            raise fail(errno.EBADF)
        return found

    def remove(self, handle: int) -> OpenFile | None:
        """Close a handle and return what it was; None when it is not open."""
        with self._guard:
            found = self._files.pop(handle, None)
        if found is None:
            return None
        if found.descriptor is not None:
            os.close(found.descriptor)
        if found.content is not None:
            found.content.close()
        return found

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
        if file.content is not None:
            return file.content.read_at(offset, size)
        return os.pread(self._descriptor(file), size, offset)

    def write(self, handle: int, data: bytes, *, offset: int) -> int:
        """Write bytes to an open file, and return how many.

        Raises:
            OSError: EBADF: it is not open for writing; ENOSPC; EFBIG.
        """
        file = self.get(handle)
        if not file.is_writable:
            raise fail(errno.EBADF)
        descriptor = self._descriptor(file)
        written = 0
        while written < len(data):
            # pwrite on a descriptor opened with O_APPEND appends, so those are opened without it, and the kernel
            # that asks has worked out the offset.
            written += os.pwrite(descriptor, data[written:] if written else data, offset + written)
        return written

    def truncate(self, handle: int, size: int) -> None:
        """Set the size of an open file.

        Raises:
            OSError: EBADF, EINVAL: it is not open for writing.
        """
        file = self.get(handle)
        if not file.is_writable:
            raise fail(errno.EINVAL)
        os.ftruncate(self._descriptor(file), size)

    def sync(self, handle: int, *, data_only: bool) -> None:
        """Make an open file durable."""
        file = self.get(handle)
        if file.descriptor is not None:
            (os.fdatasync if data_only else os.fsync)(file.descriptor)

    def _descriptor(self, file: OpenFile) -> int:
        if file.descriptor is None:
            raise fail(errno.EBADF)
        return file.descriptor
