"""Where a change of a repository's logs shows first: local directories in which new records appear, and their times.

Used by `mount`, which watches them, and by `vfs`.

Threading: functions without state, and a class that may be shared by threads.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX, log_key, log_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.repository.repository import Repository

Value = TypeVar("Value")
_SETTLED_NS: Final = 100_000_000
"""A directory that changed so short a time ago may change again without another time: kernels round it."""


def find_log_directories(repository: Repository) -> list[str]:
    """Return the directory of collections and those of their logs, as far as they exist; else what is above them.

    A repository in an object store has none.
    """
    if repository.is_remote:
        return []
    above = os.path.join(repository.location, COLLECTIONS_PREFIX.rstrip("/"))
    found = [above if os.path.isdir(above) else repository.location]
    for name in list_collections(repository):
        log = os.path.join(repository.location, log_prefix(name).rstrip("/"))
        found.append(log if os.path.isdir(log) else os.path.dirname(log))
    return found


def list_collections(repository: Repository) -> list[str]:
    """Return the names below which there may be logs: of a local repository without a look at any log.

    Raises:
        ArtifactFSError: the repository is gone, or cannot be listed.
    """
    if repository.is_remote:
        return repository.collection_names()
    try:
        names = os.listdir(os.path.join(repository.location, COLLECTIONS_PREFIX))
    except OSError:
        names = []
    return names or list(repository.store.iter_children(COLLECTIONS_PREFIX))  # which tells nothing from gone


class Unchanged(Generic[Value]):
    """Remembers something about each log for as long as the log does not change.

    Looking costs two calls of stat(2), and reads nothing; logs in an object store are read each time. Not for what is
    to be proved: a record that was overwritten in its place is not noticed.

    Threading: may be shared by threads.
    """

    def __init__(self, repository: Repository) -> None:
        """Remember nothing yet."""
        self._repository = repository
        self._known: dict[str, tuple[tuple[int, int], int, Value]] = {}

    def find(self, name: str, load: Callable[[str], tuple[int, Value]]) -> Value:
        """Return what `load` returned for a collection, beside the number of the last record; asked anew if need be."""
        mark, known = self._find_mark(name), self._known.get(name)
        if known is not None and known[0] == mark and not self._has_record(name, known[1] + 1):
            return known[2]
        now_ns = time.time_ns()
        seq, value = load(name)
        if mark is not None and mark[1] < now_ns - _SETTLED_NS:
            self._known[name] = (mark, seq, value)
        return value

    def _find_mark(self, name: str) -> tuple[int, int] | None:
        """Return inode and time of a log's directory: they differ when records came or went."""
        if self._repository.is_remote:
            return None
        try:
            found = os.stat(f"{self._repository.location}/{log_prefix(name)}")
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _has_record(self, name: str, seq: int) -> bool:
        return os.path.lexists(f"{self._repository.location}/{log_key(name, seq)}")
