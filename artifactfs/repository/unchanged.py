"""Recognising local files that were put before and did not change, without reading them.

A file is the same when path, size, modification and change time, device and inode are. A file that changed within two
seconds before the walk began is read in any case, and is not remembered: a later change might leave no trace in its
times. What was not surely on disk when it was read counts only until the machine starts again: after a power loss a
file may have its new times and its old bytes. A directory without subdirectories is the same when its mark is, under
the same rules.

Used by ingest. Threading: an Unchanged may be shared by threads.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.index.sourcetable import KnownFolder, KnownSource
from artifactfs.model import FIRST_NS
from artifactfs.staging.hashes import SETTLED_NS, read_boot_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.model import DirectoryEntry, FileEntry
    from artifactfs.repository.folders import Mark

ON_DISK_NS: Final = 120_000_000_000
"""After so long the kernel has written a file out (its own limit is half a minute)."""
_BOOT: Final = 8


class SourceLog(Protocol):
    """Remembers local files; `index.sourcetable.SourceTable` is one. Anything may be forgotten at any time."""

    def find_sources(self, paths: Sequence[bytes]) -> list[KnownSource | None]:
        """Return what is known of each of these absolute paths."""

    def add_sources(self, items: Sequence[tuple[bytes, KnownSource]]) -> None:
        """Remember files by absolute path."""

    def find_folder(self, path: bytes) -> KnownFolder | None:
        """Return what is known of the directory with this absolute path."""

    def add_folder(self, path: bytes, known: KnownFolder) -> None:
        """Remember a directory by absolute path."""


class Unchanged:
    """Knows files that were put before. May be shared by threads."""

    def __init__(self, log: SourceLog, *, now_ns: int, rehash: bool, boot_id: str | None = None) -> None:
        """Store what is known, when the walk begins, whether to believe none of it, and this boot of the machine."""
        self._log = log
        self._now_ns = now_ns
        self._rehash = rehash
        text = read_boot_id() if boot_id is None else boot_id
        self._boot = hashlib.sha256(text.encode()).digest()[:_BOOT]

    def find(self, files: Sequence[tuple[bytes, os.stat_result]]) -> list[KnownSource | None]:
        """Return for each local file what its content is, or None when it must be read."""
        if self._rehash:
            return [None] * len(files)
        known = self._log.find_sources([os.path.abspath(path) for path, _ in files])
        return [
            found if found is not None and self._is_same(found, status) else None
            for found, (_, status) in zip(known, files, strict=True)
        ]

    def add(self, files: Sequence[tuple[bytes, os.stat_result, FileEntry]]) -> None:
        """Remember files that were read, with the status that they had before and after."""
        items = []
        for path, status, entry in files:
            changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
            if changed_ns < self._now_ns - SETTLED_NS and status.st_mtime_ns >= FIRST_NS:  # the index has 64 bits
                known = KnownSource(*_status_key(status), self._boot_for(changed_ns), entry.sha256, entry.sums)
                items.append((os.path.abspath(path), known))
        if items:
            self._log.add_sources(items)

    def knows_folder(self, path: bytes) -> bool:
        """Return whether there is something to compare a directory with."""
        return not self._rehash and self._log.find_folder(os.path.abspath(path)) is not None

    def find_folder(self, path: bytes, mark: Mark) -> KnownFolder | None:
        """Return what was stored for a local directory that has this mark now, or None when it must be looked into."""
        found = self._log.find_folder(os.path.abspath(path)) if mark.is_whole and not self._rehash else None
        if found is None or found.mark != mark.digest() or not self._counts(found.boot, mark.newest_ns):
            return None
        return found

    def add_folder(self, path: bytes, mark: Mark, entry: DirectoryEntry) -> None:
        """Remember a directory as which `entry` was stored, with the mark of what was read."""
        if mark.is_whole and mark.newest_ns < self._now_ns - SETTLED_NS:
            boot = self._boot_for(mark.newest_ns)
            known = KnownFolder(mark.digest(), boot, entry.tree, entry.content, entry.size, entry.count)
            self._log.add_folder(os.path.abspath(path), known)

    def _boot_for(self, changed_ns: int) -> bytes:
        return b"" if changed_ns < self._now_ns - ON_DISK_NS else self._boot

    def _is_same(self, found: KnownSource, status: os.stat_result) -> bool:
        changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
        return found[:5] == _status_key(status) and self._counts(found.boot, changed_ns)

    def _counts(self, boot: bytes, changed_ns: int) -> bool:
        return boot in (b"", self._boot) and changed_ns < self._now_ns - SETTLED_NS


def _status_key(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino
