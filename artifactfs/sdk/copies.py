"""Local copies of versions, made once: a copy that is there already is recognised and left.

Used by `Artifact`. Threading: pure functions.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from artifactfs.errors import AlreadyExistsError
from artifactfs.model import DirectoryEntry, SymlinkEntry
from artifactfs.repository.checkout import checkout

if TYPE_CHECKING:
    from artifactfs.model import Entry, Version
    from artifactfs.sdk.workspace import Workspace


def download_version(
    workspace: Workspace, version: Version, target: bytes, *, prefix: bytes = b"", replace: bool = False
) -> None:
    """Write a version to a local directory, unless it is there; with `prefix`, only what is at or below that.

    Raises:
        AlreadyExistsError: something else is there.
        ArtifactFSError: see `checkout`.
    """
    if prefix:
        workspace.trees.find_entry(version.root, prefix)
        download_entry(workspace, version, os.path.join(target, prefix), path=prefix, replace=replace)
    else:
        download_entry(workspace, version, target, path=b"", replace=replace)


def download_entry(
    workspace: Workspace, version: Version, target: bytes, *, path: bytes, replace: bool = False
) -> None:
    """Write what is at a path of a version to a local path, unless it is there.

    Raises:
        AlreadyExistsError: something else is there.
        ArtifactFSError: see `checkout`.
    """
    if path:
        os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        checkout(workspace.repository, version.root, target, path=path, replace=replace)
    except AlreadyExistsError:
        if not _is_same(workspace, version, target, path=path):
            raise


def _is_same(workspace: Workspace, version: Version, target: bytes, *, path: bytes) -> bool:
    """Return whether names, kinds, sizes and times below a local path are those of the version."""
    entry = workspace.trees.find_entry(version.root, path)
    expected = {b"": entry}
    if isinstance(entry, DirectoryEntry):
        if _count_names(target) != _count_entries(workspace, version, path):
            return False
        prefix = len(path) + 1 if path else 0
        expected |= {below[prefix:]: item for below, item in workspace.trees.iter_tree(version.root, path)}
    return all(_looks_same(os.path.join(target, below) if below else target, item) for below, item in expected.items())


def _looks_same(local: bytes, entry: Entry) -> bool:
    try:
        status = os.lstat(local)
        if isinstance(entry, DirectoryEntry):
            return stat.S_ISDIR(status.st_mode)
        if isinstance(entry, SymlinkEntry):
            return stat.S_ISLNK(status.st_mode) and os.readlink(local) == entry.target
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)


def _count_entries(workspace: Workspace, version: Version, path: bytes) -> int:
    return sum(1 for _ in workspace.trees.iter_tree(version.root, path))


def _count_names(target: bytes) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(target))
