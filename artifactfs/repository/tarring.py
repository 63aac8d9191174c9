"""A version, or a directory of one, as a tar file in pieces.

Used by `serve`. Threading: functions without state; an iterator belongs to one thread.

Source: pax in POSIX.1-2001, as `tarfile` writes it.
"""

from __future__ import annotations

import os
import tarfile
from contextlib import closing
from typing import TYPE_CHECKING, Final

from artifactfs.model import DirectoryEntry, SymlinkEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import Entry
    from artifactfs.repository.viewing import Viewed

CHUNK: Final = 1 << 20


def iter_tar(viewed: Viewed, path: bytes = b"") -> Iterator[bytes]:
    """Yield a tar file of what is at a path: a directory's entries by their paths in it, or one file.

    Raises:
        EntryNotFoundError: there is nothing.
        IntegrityError, RemoteError: content is missing, damaged or cannot be fetched; the file then ends early.
    """
    entry, _ = viewed.trees.get_placed(viewed.root, path)
    parent = path.rpartition(b"/")[0]
    below = [(path, entry)] if not isinstance(entry, DirectoryEntry) else viewed.trees.iter_tree(viewed.root, path)
    start = path if isinstance(entry, DirectoryEntry) else parent
    for where, each in below:
        yield from _iter_entry(viewed, where, each, where[len(start) :].lstrip(b"/"))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _iter_entry(viewed: Viewed, path: bytes, entry: Entry, name: bytes) -> Iterator[bytes]:
    member = tarfile.TarInfo(os.fsdecode(name))
    member.mode, member.mtime = entry.mode, entry.mtime_ns // 10**9
    if isinstance(entry, DirectoryEntry):
        member.type = tarfile.DIRTYPE
    elif isinstance(entry, SymlinkEntry):
        member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(entry.target)
    else:
        member.size = entry.size
    yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if member.isreg():
        with closing(viewed.open_file(path)) as file:
            for at in range(0, member.size, CHUNK):
                yield file.read_at(at, min(CHUNK, member.size - at))
        yield bytes(-member.size % tarfile.BLOCKSIZE)
