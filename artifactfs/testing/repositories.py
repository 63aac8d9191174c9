"""Small repositories for tests: made in a directory, filled from dicts.

Threading: functions without state.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from artifactfs.model import FileEntry, SymlinkEntry
from artifactfs.repository.commit import DEFAULT_OPTIONS, CommitOptions, commit_stored
from artifactfs.repository.repository import open_repository
from artifactfs.repository.treebuilder import TreeBuilder, make_root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactfs.clock import Clock
    from artifactfs.model import DirectoryEntry, Entry, Root, Version
    from artifactfs.repository.objects import ContentBatch
    from artifactfs.repository.repository import Repository

Content: TypeAlias = "bytes | str | Mapping[bytes, Content]"
"""A file's bytes, a link's target as text, or a directory."""
TIME_NS = 1_700_000_000_123_456_789


def make_repository(
    directory: str | os.PathLike[str], *, clock: Clock | None = None, use_index: bool = True
) -> Repository:
    """Return a new repository in `directory`/repository, with its state beside it; the caller closes it."""
    top = os.fspath(directory)
    return open_repository(
        f"{top}/repository", state=f"{top}/state", author="tester@host", clock=clock, use_index=use_index
    )


def commit_files(
    repository: Repository,
    name: str,
    files: Mapping[bytes, Content],
    options: CommitOptions = DEFAULT_OPTIONS,
    *,
    mode: int = 0o644,
) -> Version:
    """Commit a directory that is given as nested dicts, and return the version."""

    def store() -> Root:
        with repository.blobs.begin() as batch:
            root = _store(TreeBuilder(batch), batch, b"/", files, mode)
            batch.flush()
        return make_root(root)

    return commit_stored(repository, name, store, options).version


def _store(
    builder: TreeBuilder, batch: ContentBatch, name: bytes, files: Mapping[bytes, Content], mode: int
) -> DirectoryEntry:
    entries: list[Entry] = []
    for child, content in files.items():
        if isinstance(content, bytes):
            blob = batch.store_bytes(content)
            entries.append(FileEntry(child, mode, TIME_NS, blob.size, blob.sha256, blob.sums))
        elif isinstance(content, str):
            entries.append(SymlinkEntry(child, 0o777, TIME_NS, os.fsencode(content)))
        else:
            entries.append(_store(builder, batch, child, content, mode))
    return builder.store_directory(name, mode=0o755, mtime_ns=TIME_NS, entries=entries)
