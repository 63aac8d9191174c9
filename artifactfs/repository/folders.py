"""Marks of whole directories, by which those are known again that were put before.

What its status is to a file, a mark is to a directory without subdirectories: it stands for the names and statuses of
all that lies in it. Where it is the one of last time, nothing is looked up, encoded or hashed for each file.

Used by ingest. Threading: a Mark belongs to one thread at a time; functions without state.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from artifactfs.model import ReferenceEntry
from artifactfs.repository.reading import ReadFile

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from artifactfs.model import SymlinkEntry
    from artifactfs.repository.scan import Found

MARK_SIZE: Final = 32
_STATUS: Final = struct.Struct(">IQQQQQ")
_KIND: Final = stat.S_IFMT(0xFFFF)
_64_BITS: Final = (1 << 64) - 1
_AT_ONCE: Final = 1024


class Part(NamedTuple):
    """What some files of a directory add to its mark.

    Attributes:
        data: names and statuses, in order.
        newest_ns: when the last of them changed.
        file_count: how many are regular files.
    """

    data: bytes
    newest_ns: int
    file_count: int


class Mark:
    """Stands for the names and statuses of all that lies in a directory. Belongs to one thread at a time.

    Attributes:
        newest_ns: when the last of them changed.
        file_count: how many are regular files.
        is_whole: False as soon as there is something that a mark cannot stand for: a directory, a reference.
    """

    __slots__ = ("_hash", "file_count", "is_whole", "newest_ns")

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=MARK_SIZE)
        self.newest_ns = self.file_count = 0
        self.is_whole = True

    def add(self, part: Part | None) -> None:
        """Take the next files, in name order; None where there is something else."""
        if part is None:
            self.is_whole = False
        else:
            self._hash.update(part.data)
            self.newest_ns = max(self.newest_ns, part.newest_ns)
            self.file_count += part.file_count

    def digest(self) -> bytes:
        """Return the bytes that stand for what was added."""
        return self._hash.digest()


def mark_listing(found: Iterable[Found]) -> Mark:
    """Return the mark of a directory as it is now."""
    mark = Mark()
    pairs: list[tuple[bytes, os.stat_result]] = []
    for item in found:
        if item.planned is not None or item.status is None:
            mark.add(None)
            return mark
        pairs.append((item.name, item.status))
        if len(pairs) == _AT_ONCE:
            mark.add(_describe(pairs))
            pairs = []
    mark.add(_describe(pairs))
    return mark


def mark_taken(found: Sequence[Found], taken: Sequence[ReadFile | SymlinkEntry | ReferenceEntry]) -> Part | None:
    """Return what files and links add to the mark of their directory, as they were when they were read."""
    pairs = []
    for place, item in zip(found, taken, strict=True):
        status = (item.status if isinstance(item, ReadFile) else None) or place.status
        if status is None or isinstance(item, ReferenceEntry):
            return None
        pairs.append((place.name, status))
    return _describe(pairs)


def _describe(pairs: Sequence[tuple[bytes, os.stat_result]]) -> Part:
    pack, newest_ns, file_count = _STATUS.pack, 0, 0
    parts: list[bytes] = []
    for name, status in pairs:
        mode, mtime_ns, ctime_ns = status.st_mode, status.st_mtime_ns, status.st_ctime_ns
        newest_ns = max(newest_ns, mtime_ns, ctime_ns)
        file_count += mode & _KIND == stat.S_IFREG
        times = mtime_ns & _64_BITS, ctime_ns & _64_BITS
        # No name has a slash, so no two lists of files give the same bytes.
        parts += (pack(mode, status.st_size, *times, status.st_dev, status.st_ino), name, b"/")
    return Part(b"".join(parts), newest_ns, file_count)
