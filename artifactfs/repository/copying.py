"""Copying verified content into a file: shared with the store where the file system can, else copied.

Used by checkout. Threading: a Copier may be shared by threads.

Source: ioctl_ficlone(2), copy_file_range(2), sendfile(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.fetching import FetchedFile
from artifactfs.blobstore.system_disk import CANNOT_CLONE, FICLONE
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import DigestMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.blobstore.verifying import ReadableFile

_STEP: Final = 64 << 20
_CANNOT_LINK: Final = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOENT)
"""Another file system, too many links, not the owner of the store, no links there, no /proc."""


class Copier:
    """Copies content. Learns what the two file systems can do. May be shared by threads."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        """Store whom to tell how many bytes were written."""
        self._tell = tell
        self._can_clone = sys.platform.startswith("linux")
        self._can_copy_range = hasattr(os, "copy_file_range")

    def copy(self, file: ReadableFile, target: int) -> bool:
        """Write all of a file's content to an empty file, and return whether the two now share their blocks.

        Raises:
            DigestMismatchError: what is stored is damaged; what was written must not be used.
            OSError: from writing.
        """
        if not file.size:
            return False
        if self._can_clone and file.extent() is None and not isinstance(file, FetchedFile):
            # Read it once to verify it; then nothing has to be written.
            self._verify(file)
        source = file.extent()
        if source is None:
            self.copy_bytes(file, target)
            return False
        if self._can_clone and self._clone(source, target, file.size):
            return True
        if not self._can_copy_range or not self._copy_range(source, target, file.size):
            self.copy_bytes(file, target)
        return False

    def link(self, file: ReadableFile, make: Callable[[int], None]) -> bool:
        """Let a hard link to a whole stored file be made, and return whether it was: it must not lie in a pack.

        Args:
            file: the content, which is verified first.
            make: makes the link, given a descriptor.

        Raises:
            DigestMismatchError: what is stored is damaged.
        """
        if isinstance(file, FetchedFile):
            return False
        if file.extent() is None:
            self._verify(file)
        source = file.extent()
        if source is None or source[1] or os.fstat(source[0]).st_size != file.size:
            return False
        try:
            make(source[0])
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            return False
        self._tell(file.size)
        return True

    def _verify(self, file: ReadableFile) -> None:
        for offset in range(0, file.size, CHUNK_SIZE):
            file.read_at(offset, CHUNK_SIZE)

    def _clone(self, source: tuple[int, int], target: int, size: int) -> bool:
        descriptor, start = source
        if start or os.fstat(descriptor).st_size != size:
            return False  # it lies in a pack, and blocks are shared whole
        try:
            fcntl.ioctl(target, FICLONE, descriptor)
        except OSError as error:
            if error.errno not in CANNOT_CLONE:
                raise
            self._can_clone = False
            return False
        self._check_size(os.fstat(target).st_size, size)
        self._tell(size)
        return True

    def _copy_range(self, source: tuple[int, int], target: int, size: int) -> bool:
        descriptor, start = source
        done = 0
        while done < size:
            try:
                count = os.copy_file_range(descriptor, target, min(_STEP, size - done), start + done, done)
            except OSError as error:
                if done or error.errno not in CANNOT_CLONE:
                    raise
                self._can_copy_range = False
                return False
            if not count:
                break
            done += count
            self._tell(count)
        self._check_size(done, size)
        return True

    def copy_bytes(self, file: ReadableFile, target: int) -> None:
        """Write all of a file's content to an empty file, by reading it once.

        Raises:
            ArtifactFSError: it cannot be read; what was written must not be used.
            OSError: from writing.
        """
        done = 0
        while data := file.read_at(done, CHUNK_SIZE):
            view = memoryview(data)
            while view:
                count = os.pwrite(target, view, done)
                done, view = done + count, view[count:]
            self._tell(len(data))
        self._check_size(done, file.size)

    def _check_size(self, found: int, size: int) -> None:
        if found != size:
            msg = f"a stored file has {found} bytes instead of {size}"
            raise DigestMismatchError(msg, hint="run `artifactfs verify` to find what is damaged")
