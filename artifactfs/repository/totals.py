"""How many files and bytes a plan lays out, before any is read.

Used by put, for progress. Threading: a function without state.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from artifactfs.model import FileEntry
from artifactfs.repository.ignore import Ignored
from artifactfs.repository.scan import Scanner

if TYPE_CHECKING:
    from artifactfs.repository.leaving import IngestOptions
    from artifactfs.repository.sources import Planned


def count_plan(planned: Planned, options: IngestOptions) -> tuple[int, int]:
    """Return the number of files and of bytes that a plan lays out, by their status alone.

    Raises:
        ArtifactFSError: as `Ingest.store`, for what can be seen without reading.
    """
    scanner = Scanner(forbidden=options.forbidden)
    files = size = 0
    waiting: list[tuple[Planned, bytes, Ignored]] = [(planned, b"", Ignored(options.patterns()))]
    while waiting:
        directory, path, ignored = waiting.pop()
        listing = scanner.list_directory(directory, path, ignored)
        for found in listing.found:
            if found.planned:
                waiting.append((found.planned, found.path, listing.ignored))
            elif isinstance(found.given, FileEntry):
                files, size = files + 1, size + found.given.size
            elif found.status and stat.S_ISREG(found.status.st_mode):
                files, size = files + 1, size + found.status.st_size
    return files, size
