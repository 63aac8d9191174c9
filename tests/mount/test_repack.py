"""A prune moves what a mount shows to other packs, and deletes the old ones, while it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import PACKS_PREFIX, TREEPACKS_PREFIX
from artifactfs.mount.options import MountInfo
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.repack import repack
from artifactfs.repository.repository import Repository
from artifactfs.repository.usage import Repacking
from tests.mount.conftest import put

pytestmark = pytest.mark.mounted


def read_tree(top: Path) -> dict[str, bytes]:
    found = {}
    for directory, _, names in os.walk(top):
        for name in names:
            path = Path(directory, name)
            if not path.is_symlink():
                found[os.path.relpath(path, top)] = path.read_bytes()
    return found


def test_a_mount_goes_on_over_moved_content(mounted: MountInfo, repository: Repository, source: Path) -> None:
    version = Path(mounted.mountpoint, "animals", "v0")
    expected = read_tree(source)
    assert (version / "many" / "f0007").read_bytes() == expected["many/f0007"]
    (source / "more").write_bytes(os.urandom(300_000))
    put(repository, source)
    found = find_garbage(repository)
    every = {pack for prefix in (PACKS_PREFIX, TREEPACKS_PREFIX) for pack in found.usage.live_sizes(prefix)}
    assert len(every) == 4
    assert repack(repository, Repacking(frozenset(every)), found.roots).versions == 2
    with (version / "many" / "f0008").open("rb") as held:
        assert delete_garbage(repository, find_garbage(repository)).count == 4
        assert held.read() == expected["many/f0008"]
    assert read_tree(version) == expected
    assert read_tree(Path(mounted.mountpoint, "animals", "v1")) == read_tree(source)
