"""Verify without a network: what is kept on this machine of a file, each chunk read and hashed.

A chunk that is not what it should be says nothing about the repository: it is dropped, as by any read, and then it is
not here.

Used by `verify.py`. Threading: functions over a Repository; several may run at once.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from artifactfs.blobstore.fetching import locate
from artifactfs.blobstore.hashing import split_sums
from artifactfs.blobstore.keys import sums_key
from artifactfs.blobstore.remote import RangeKeeper
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import MalformedError, OfflineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.model import FileEntry, Placement
    from artifactfs.repository.repository import Repository


def find_unkept(
    repository: Repository, entry: FileEntry, place: Placement | None, *, tell: Callable[[int], None]
) -> str | None:
    """Return what of a file could not be verified, as far as it is known; None if all of it is kept, and sound.

    Args:
        repository: of the file; offline.
        entry: which content.
        place: where it lies, when not as an object of its own.
        tell: is told of bytes that were read.

    Raises:
        OfflineError: nothing of it is kept.
        ArtifactFSError: it cannot be read.
    """
    sums = _find_sums(repository, entry)
    file = repository.open_file(entry, place)
    missing = damaged = 0
    try:
        for number, digest in enumerate(sums):
            try:
                data = file.read_at(number * CHUNK_SIZE, CHUNK_SIZE)
            except OfflineError:
                missing += 1
                if missing == len(sums):
                    raise
                continue
            if hashlib.sha256(data).digest() == digest:
                tell(len(data))
            else:
                damaged += 1
                _drop(repository, entry, place, number, len(data))
    finally:
        file.close()
    if damaged:
        return f"{damaged} of {len(sums)} parts on this machine were damaged, and are deleted"
    return f"{missing} of {len(sums)} parts are not on this machine" if missing else None


def _drop(repository: Repository, entry: FileEntry, place: Placement | None, number: int, size: int) -> None:
    key, base = locate(entry, place)
    if isinstance(repository.store, RangeKeeper):
        repository.store.forget_range(key, base + number * CHUNK_SIZE, size)


def _find_sums(repository: Repository, entry: FileEntry) -> tuple[bytes, ...]:
    if entry.size <= CHUNK_SIZE:
        return (entry.sha256,)
    if entry.sums is None:
        msg = f"{entry.digest} has {entry.size} bytes and no sums to verify them by"
        raise MalformedError(msg, subject=str(entry.digest))
    return split_sums(repository.store.read(sums_key(entry.sums)), expected=entry.sums, size=entry.size)
