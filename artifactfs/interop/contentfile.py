"""The content of an entry as a file object of Python: seekable, buffered, readable by whatever takes a binary file.

Used by the fsspec file system. Threading: as other file objects, one belongs to one thread at a time.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, Final

from artifactfs.errors import ArtifactFSError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.blobstore.verifying import ReadableFile

BUFFER_SIZE: Final = 128 << 10
"""What is read at least; larger reads go past the buffer, straight from the page cache to the caller."""
_AT_ONCE: Final = 64 << 20


def read_range(file: ReadableFile, offset: int, size: int) -> bytes:
    """Return exactly the overlap of a range with a file, verified.

    Raises:
        IntegrityError: the content is damaged, or was cut short meanwhile.
    """
    size = max(min(size, file.size - offset), 0)
    extent = file.extent()
    data = file.read_at(offset, size) if extent is None else os.pread(extent[0], size, extent[1] + offset)
    if len(data) == size:
        return data
    parts = [data]  # pread(2) gives at most 2 GiB at once
    done = len(data)
    while done < size:
        part = file.read_at(offset + done, min(size - done, _AT_ONCE))
        if not part:
            msg = f"the content was cut short at {offset + done} of {file.size} bytes while it was read"
            raise IntegrityError(msg)
        parts.append(part)
        done += len(part)
    return b"".join(parts)


class ContentFile(io.RawIOBase):
    """Verified content as a raw, seekable file. Belongs to one thread at a time."""

    def __init__(self, file: ReadableFile, translate: Callable[[ArtifactFSError], OSError]) -> None:
        """Store what is read, and how errors are told; closing closes the file."""
        self._file = file
        self._translate = translate
        self._size = file.size
        self._offset = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer from where the file stands; less only at the end."""
        view = memoryview(buffer).cast("B")
        size = max(min(len(view), self._size - self._offset), 0)
        if not size:
            return 0
        extent = self._file.extent()
        done = 0 if extent is None else os.preadv(extent[0], [view[:size]], extent[1] + self._offset)
        if done < size:
            data = self._read(self._offset + done, size - done)
            view[done:size] = data
        self._offset += size
        return size

    def readall(self) -> bytes:
        """Return all from where the file stands."""
        data = self._read(self._offset, max(self._size - self._offset, 0))
        self._offset += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Stand elsewhere, and return where."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            msg = f"there is nothing before the beginning: {start + offset}"
            raise ValueError(msg)
        self._offset = start + offset
        return self._offset

    def tell(self) -> int:
        """Return where the file stands."""
        return self._offset

    def close(self) -> None:
        """Release the content."""
        if not self.closed:
            self._file.close()
        super().close()

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return read_range(self._file, offset, size)
        except ArtifactFSError as error:
            raise self._translate(error) from error


class EntryFile(io.BufferedReader):
    """A file of a version, open for reading; it can be sent to other processes, which open it again.

    Belongs to one thread at a time.

    Attributes:
        path: as it was asked for.
        size: bytes.
        details: what `info` says of it.
    """

    def __init__(
        self, raw: ContentFile, *, details: dict[str, Any], reopen: Callable[[str], io.BufferedReader], buffer: int
    ) -> None:
        super().__init__(raw, buffer)
        self.details = details
        self.path: str = details["name"]
        self.size: int = details["size"]
        self._reopen = reopen

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what opens it again at the same place."""
        return _open_again, (self._reopen, self.path, self.tell())


def _open_again(reopen: Callable[[str], io.BufferedReader], path: str, offset: int) -> io.BufferedReader:
    file = reopen(path)
    file.seek(offset)
    return file
