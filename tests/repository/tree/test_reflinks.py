"""Large files share their blocks with the store, both ways, where the file system can: tried on XFS."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.repository import reading
from artifactfs.repository.checkout import checkout
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import make_repository

SIZE = (24 << 20) + 17
LITTLE = 4 << 20
"""Less than this is bookkeeping of the file system."""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file needs root"),
    pytest.mark.skipif(shutil.which("mkfs.xfs") is None, reason="mkfs.xfs is not installed"),
]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory on a file system that shares blocks."""
    image, top = tmp_path / "xfs.img", tmp_path / "xfs"
    top.mkdir()
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(top)], check=False).returncode != 0:
        pytest.skip("this system does not mount XFS from a file")
    yield top
    subprocess.run(["umount", str(top)], check=True)


@pytest.fixture
def source(shared: Path) -> Path:
    """Return a directory with one large file and one small one."""
    folder = shared / "source"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(SIZE))
    (folder / "small").write_bytes(b"small")
    return folder


def used(top: Path) -> int:
    os.sync()
    status = os.statvfs(top)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def put(repository: Repository, source: Path) -> object:
    return put_paths(repository, "data", [Source(os.fsencode(source), b"")]).version.root


def test_put_and_get_take_no_room_for_a_large_file(shared: Path, source: Path) -> None:
    with make_repository(shared / "top") as repository:
        before = used(shared)
        result = put_paths(repository, "data", [Source(os.fsencode(source), b"")])
        assert used(shared) - before < LITTLE
        got = checkout(repository, result.version.root, os.fsencode(shared / "got"))
        assert used(shared) - before < LITTLE
        assert (got.cloned, got.copied) == (2, 0)  # nothing else is in the pack of the small one
    assert (shared / "got" / "large").read_bytes() == (source / "large").read_bytes()


def test_a_version_is_the_same_whether_shared_or_copied(shared: Path, source: Path, tmp_path: Path) -> None:
    with make_repository(shared / "top") as sharing, make_repository(tmp_path / "other") as copying:
        root, other = put(sharing, source), put(copying, source)
    assert (root.tree, root.content) == (other.tree, other.content)  # type: ignore[attr-defined]


def test_what_is_written_later_does_not_reach_the_store(shared: Path, source: Path) -> None:
    before = (source / "large").read_bytes()
    with make_repository(shared / "top") as repository:
        root = put_paths(repository, "data", [Source(os.fsencode(source), b"")]).version.root
        with (source / "large").open("r+b") as file:
            file.write(b"other")
        checkout(repository, root, os.fsencode(shared / "got"))
        with (shared / "got" / "large").open("r+b") as file:
            file.write(b"more")
        checkout(repository, root, os.fsencode(shared / "again"))
    assert (shared / "again" / "large").read_bytes() == before


def test_a_file_that_changes_while_it_is_cloned_is_taken_again(
    shared: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []
    changed = reading._changed

    def write_once(before: os.stat_result, after: os.stat_result) -> bool:
        if before.st_size == SIZE and not times:
            times.append(1)
            (source / "large").write_bytes(b"!" * SIZE)
            after = os.stat(source / "large")
        return changed(before, after)

    monkeypatch.setattr(reading, "_changed", write_once)
    with make_repository(shared / "top") as repository:
        root = put_paths(repository, "data", [Source(os.fsencode(source), b"")]).version.root
        checkout(repository, root, os.fsencode(shared / "got"))
    assert (shared / "got" / "large").read_bytes() == b"!" * SIZE
