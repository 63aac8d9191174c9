"""Small repositories for tests: made in a directory, filled from dicts.

Threading: functions without state.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from artifactfs.blobstore.keys import blob_key, pack_key, tree_key, treepack_key
from artifactfs.model import DirectoryEntry, FileEntry, SymlinkEntry
from artifactfs.repository.commit import DEFAULT_OPTIONS, CommitOptions, commit_stored
from artifactfs.repository.repository import PACKED_BELOW, open_repository
from artifactfs.repository.treebuilder import TreeBuilder, make_root
from artifactfs.repository.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactfs.clock import Clock
    from artifactfs.model import Entry, Root, Version
    from artifactfs.repository.objects import ContentBatch
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.treebuilder import StoredDirectory
    from artifactfs.repository.treepacks import AnyPlace

Content: TypeAlias = "bytes | str | Mapping[bytes, Content]"
"""A file's bytes, a link's target as text, or a directory."""
TIME_NS = 1_700_000_000_123_456_789


def make_repository(
    directory: str | os.PathLike[str],
    *,
    clock: Clock | None = None,
    use_index: bool = True,
    packed_below: int = PACKED_BELOW,
) -> Repository:
    """Return a new repository in `directory`/repository, with its state beside it; the caller closes it."""
    top = os.fspath(directory)
    return open_repository(
        f"{top}/repository",
        state=f"{top}/state",
        author="tester@host",
        clock=clock,
        use_index=use_index,
        packed_below=packed_below,
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
    return commit_stored(repository, name, lambda: store_files(repository, files, mode=mode), options).version


def store_files(repository: Repository, files: Mapping[bytes, Content], *, mode: int = 0o644) -> Root:
    """Store a directory that is given as nested dicts, and return its root."""
    with repository.blobs.begin() as batch:
        root = _store(TreeBuilder(batch), batch, b"/", files, mode)
        batch.flush()
    return make_root(root)


def _store(
    builder: TreeBuilder, batch: ContentBatch, name: bytes, files: Mapping[bytes, Content], mode: int
) -> StoredDirectory:
    entries: list[Entry] = []
    places: dict[bytes, AnyPlace] = {}
    for child, content in files.items():
        if isinstance(content, bytes):
            blob = batch.store_blob(io.BytesIO(content), size_hint=len(content))
            entries.append(FileEntry(child, mode, TIME_NS, blob.size, blob.sha256, blob.sums))
            places[child] = blob.place
        elif isinstance(content, str):
            entries.append(SymlinkEntry(child, 0o777, TIME_NS, os.fsencode(content)))
        else:
            entry, places[child] = _store(builder, batch, child, content, mode)
            entries.append(entry)
    return builder.store_directory(name, mode=0o755, mtime_ns=TIME_NS, entries=entries, places=places)


class StoredAt(NamedTuple):
    """Where content lies: a local file, and bytes in it."""

    file: Path
    offset: int
    size: int

    def damage(self, data: bytes | None = None) -> None:
        """Put other bytes there: these, or the same with one bit flipped in the middle."""
        whole = bytearray(self.file.read_bytes())
        if data is None:
            whole[self.offset + self.size // 2] ^= 1
        else:
            whole[self.offset : self.offset + len(data)] = data
        self.file.chmod(0o644)
        self.file.write_bytes(whole)


def find_stored(repository: Repository, root: Root, path: bytes) -> StoredAt:
    """Return where the content of a file, or the top page of a directory, of a version lies; b"" is the root."""
    entry, place = Trees(repository.blobs).find_placed(root, path)
    if isinstance(entry, DirectoryEntry):
        key = tree_key(entry.tree) if place is None else treepack_key(place.pack)
    else:
        assert isinstance(entry, FileEntry)
        key = blob_key(entry.sha256) if place is None else pack_key(place.pack)
    file = Path(repository.location, key)
    return StoredAt(file, 0, file.stat().st_size) if place is None else StoredAt(file, place.offset, place.size)
