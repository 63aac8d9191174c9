"""Whole directories that did not change are kept without a look at each file, and only when all of them is stored."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.blobstore import soundness
from artifactfs.blobstore.hashing import hash_file
from artifactfs.blobstore.keys import treepack_key
from artifactfs.model import Root
from artifactfs.repository.commit import CommitResult
from artifactfs.repository.ingest import Ingest
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository
from artifactfs.repository.scan import Found
from artifactfs.testing.repositories import find_stored, make_repository

MINUTE = 60 * 10**9
COUNT = 1500
"""More than one page of a directory holds."""


class LaterClock:
    """The time in a minute, so that no file has changed just now."""

    def now_ns(self) -> int:
        return time.time_ns() + MINUTE

    def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path / "top", clock=LaterClock()) as repository:
        yield repository


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for name in ("few", "many", "loose", "empty"):
        (folder / name).mkdir(parents=True)
    for number in range(3):
        (folder / "few" / f"{number}").write_bytes(b"%d" % number)
    for number in range(COUNT):
        (folder / "many" / f"{number}").write_bytes(b"many %d" % number)
    (folder / "loose" / "large").write_bytes(b"l" * (5 << 20))
    os.symlink("../few/1", folder / "loose" / "link")
    return folder


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the paths of what was looked at one by one."""
    paths: list[bytes] = []
    real = Ingest._take

    def note(self: Ingest, level: object, found: Found) -> None:
        paths.append(found.path)
        real(self, level, found)  # type: ignore[arg-type]

    monkeypatch.setattr(Ingest, "_take", note)
    return paths


def put(repository: Repository, source: Path, **more: object) -> CommitResult:
    return put_paths(repository, "data", [Source(os.fsencode(source), b"")], **more)  # type: ignore[arg-type]


def folders(taken: list[bytes]) -> set[bytes]:
    found = {path.rpartition(b"/")[0] for path in taken}
    taken.clear()
    return found


def test_only_directories_that_changed_are_looked_into(
    repository: Repository, source: Path, taken: list[bytes]
) -> None:
    first = put(repository, source).version.root
    assert folders(taken) == {b"few", b"many", b"loose"}
    assert put(repository, source).version.root == first
    assert folders(taken) == set()
    (source / "many" / "7").write_bytes(b"other")
    changed = put(repository, source).version.root
    assert folders(taken) == {b"many"}
    assert put(repository, source, rehash=True).version.root == changed
    assert folders(taken) == {b"few", b"many", b"loose"}
    (source / "few" / "3").write_bytes(b"new")
    (source / "loose" / "link").unlink()
    assert put(repository, source).version.root.count == changed.count
    assert folders(taken) == {b"few", b"loose"}


def test_a_directory_of_files_that_is_put_alone_is_kept_too(
    repository: Repository, source: Path, taken: list[bytes]
) -> None:
    first = put(repository, source / "many").version.root
    taken.clear()
    assert put(repository, source / "many").version.root == first
    assert taken == []


def test_mode_and_time_of_a_kept_directory_are_those_of_now(repository: Repository, source: Path) -> None:
    first = put(repository, source).version.root
    os.chmod(source / "few", 0o700)
    changed = put(repository, source).version.root
    assert changed.content == first.content
    assert changed.tree != first.tree
    assert put(repository, source, rehash=True).version.root == changed


@pytest.mark.parametrize("name", ["few/1", "many/700", "loose/large"])
@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_a_directory_whose_content_is_not_all_stored_is_looked_into(
    repository: Repository, source: Path, taken: list[bytes], name: str, harm: str
) -> None:
    root = put(repository, source).version.root
    found = find_stored(repository, root, name.encode())
    found.file.unlink() if harm == "removed" else found.damage()
    repository.blobs.forget()
    taken.clear()
    again = put(repository, source).version.root
    assert (again.tree, again.content) == (root.tree, root.content)
    assert name.encode().rpartition(b"/")[0] in folders(taken)
    repository.blobs.forget()
    for path in ("few/1", "many/700", "loose/large"):
        place = find_stored(repository, again, path.encode())
        assert (source / path).read_bytes() in place.file.read_bytes()


def find_treepack(repository: Repository, root: Root) -> Path:
    assert root.placement is not None
    return Path(repository.location) / treepack_key(bytes.fromhex(root.placement[0][7:]))


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_a_directory_whose_pages_are_not_all_stored_is_looked_into(
    repository: Repository, source: Path, taken: list[bytes], harm: str
) -> None:
    root = put(repository, source).version.root
    file = find_treepack(repository, root)
    data = bytearray(file.read_bytes())
    file.unlink()
    if harm == "damaged":
        data[-1] ^= 1
        file.write_bytes(data)
    repository.blobs.forget()
    taken.clear()
    again = put(repository, source).version.root
    assert folders(taken) == {b"few", b"many", b"loose"}
    assert (again.tree, again.content) == (root.tree, root.content)


def test_packs_that_were_touched_are_read_once_and_believed(
    repository: Repository, source: Path, taken: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put(repository, source).version.root
    for file in (find_stored(repository, root, b"few/1").file, find_treepack(repository, root)):
        os.utime(file)
    hashed: list[object] = []
    monkeypatch.setattr(soundness, "hash_file", lambda file: hashed.append(file) or hash_file(file))
    for count in (2, 2):
        repository.blobs.forget()
        taken.clear()
        assert put(repository, source).version.root == root
        assert folders(taken) == set()
        assert len(hashed) == count


def test_attributes_that_are_not_kept_are_told_each_time(
    repository: Repository, source: Path, taken: list[bytes]
) -> None:
    try:
        os.setxattr(source / "few" / "1", "user.note", b"1")
    except OSError:
        pytest.skip("no extended attributes here")
    for _ in range(2):
        taken.clear()
        assert put(repository, source).dropped_count == 1
        assert b"few" in folders(taken)
