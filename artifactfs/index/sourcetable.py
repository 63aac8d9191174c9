"""Digests of local files and directories that were put, by path and status, in the index.

Used by `index`. Threading: a SourceTable may be shared by threads.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from artifactfs.index.rows import open_row, seal_row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactfs.index.environment import Reader, Writer

SOURCES: Final = "sources"
BUFFER: Final = 1 << 15
_DIRECTORY: Final = 16
_NO_BOOT: Final = bytes(8)
_VALUE: Final = struct.Struct(">QqqQQ8s32s")
_FOLDER: Final = struct.Struct(">32s8s32s32sQQ")


class KnownSource(NamedTuple):
    """What a local file was when it was read, and the digests that its content had; a `BlobName`.

    `boot` is b"" when the file had been written to disk long before, so that it counts after a restart, too; else it
    stands for the run of the machine.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int
    boot: bytes
    sha256: bytes
    sums: bytes | None


class KnownFolder(NamedTuple):
    """What a local directory without subdirectories was when it was read, and what was stored for it.

    `mark` stands for names and statuses of its files, `boot` is as in `KnownSource`; the rest is of its entry, whose
    `count` is `file_count` here.
    """

    mark: bytes
    boot: bytes
    tree: bytes
    content: bytes
    size: int
    file_count: int


class SourceTable:
    """Remembers local files. May be shared by threads."""

    def __init__(
        self, read: Callable[[Callable[[Reader], object]], object], write: Callable[[Callable[[Writer], None]], None]
    ) -> None:
        """Store how to run a transaction; reading gives None when the index cannot be read."""
        self._read = read
        self._write = write
        self._guard = threading.Lock()
        self._held: dict[bytes, bytes] = {}

    def find_sources(self, paths: Sequence[bytes]) -> list[KnownSource | None]:
        """Return what is known of each of these absolute paths."""
        keys = [_key(path) for path in paths]
        found = {key: self._held[key] for key in keys if key in self._held}
        wanted = sorted(key for key in keys if key not in found)
        if wanted:
            rows = self._read(lambda reader: reader.get_many(SOURCES, wanted))
            if isinstance(rows, dict):
                found.update(rows)
        return [_decode(open_row(key, found.get(key))) for key in keys]

    def add_sources(self, items: Sequence[tuple[bytes, KnownSource]]) -> None:
        """Remember files by absolute path; held back, and written later in one go."""
        rows = {key: seal_row(key, _encode(known)) for path, known in items if (key := _key(path))}
        with self._guard:
            self._held.update(rows)
            is_full = len(self._held) >= BUFFER
        if is_full:
            self.flush()

    def find_folder(self, path: bytes) -> KnownFolder | None:
        """Return what is known of the directory with this absolute path."""
        key = _folder_key(path)
        value = self._held.get(key)
        if value is None:
            rows = self._read(lambda reader: reader.get_many(SOURCES, (key,)))
            value = rows.get(key) if isinstance(rows, dict) else None
        value = open_row(key, value)
        if value is None or len(value) != _FOLDER.size:
            return None
        mark, boot, *entry = _FOLDER.unpack(value)
        return KnownFolder(mark, b"" if boot == _NO_BOOT else boot, *entry)

    def add_folder(self, path: bytes, known: KnownFolder) -> None:
        """Remember a directory by absolute path; held back, and written later."""
        key = _folder_key(path)
        with self._guard:
            self._held[key] = seal_row(key, _FOLDER.pack(*known))
            is_full = len(self._held) >= BUFFER
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        with self._guard:
            held = dict(self._held)
        if held:
            rows = sorted(held.items())
            self._write(lambda writer: writer.put_many(SOURCES, rows))
        with self._guard:
            for key, value in held.items():
                if self._held.get(key) is value:
                    del self._held[key]

    def clear(self) -> None:
        """Forget what is held back."""
        with self._guard:
            self._held.clear()


def _key(path: bytes) -> bytes:
    """Return the key of a file: those of one directory stand together, in name order."""
    directory, name = os.path.split(path)
    return hashlib.blake2b(directory, digest_size=_DIRECTORY).digest() + name


def _folder_key(path: bytes) -> bytes:
    """Return the key of a directory: it stands before those of its files, for no name begins with NUL."""
    return hashlib.blake2b(path, digest_size=_DIRECTORY).digest() + b"\0"


def _encode(known: KnownSource) -> bytes:
    return _VALUE.pack(*known[:5], known.boot, known.sha256) + (known.sums or b"")


def _decode(data: bytes | None) -> KnownSource | None:
    if data is None or len(data) not in (_VALUE.size, _VALUE.size + 32):
        return None
    size, mtime_ns, ctime_ns, device, inode, boot, sha256 = _VALUE.unpack_from(data)
    sums = data[_VALUE.size :] or None
    return KnownSource(size, mtime_ns, ctime_ns, device, inode, b"" if boot == _NO_BOOT else boot, sha256, sums)
