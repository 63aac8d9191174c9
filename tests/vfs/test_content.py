"""Reading content: files that stay open, are closed in time, and never serve less than there is."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.blobstore.hashing import CHUNK_SIZE
from artifactfs.blobstore.keys import blob_key
from artifactfs.errors import ArtifactFSError, BlobMissingError, DigestMismatchError
from artifactfs.model import FileEntry, Version
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees, root_placement
from artifactfs.testing.repositories import commit_files, make_repository
from artifactfs.vfs.attributes import Attributes, Kind
from artifactfs.vfs.content import KEPT_FROM_BYTES, Contents
from artifactfs.vfs.node_records import FileNode

SIZE = KEPT_FROM_BYTES + 4096
DATA = [random.Random(number).randbytes(SIZE) for number in range(12)]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path, packed_below=KEPT_FROM_BYTES) as repository:
        yield repository


def find_nodes(repository: Repository, version: Version) -> list[FileNode]:
    placed = Trees(repository.blobs).load_entries(version.root.as_entry(), root_placement(version.root))
    return [
        FileNode(Attributes(2, Kind.FILE, 0o644, entry.size, 0), entry.sha256, entry.size, entry.sums, place)
        for entry, place in placed
        if isinstance(entry, FileEntry)
    ]


@pytest.fixture
def files(repository: Repository) -> list[FileNode]:
    version = commit_files(repository, "large", {b"%02d" % number: data for number, data in enumerate(DATA)})
    return find_nodes(repository, version)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_large_files_stay_open_up_to_a_limit(repository: Repository, files: list[FileNode]) -> None:
    before = open_descriptors()
    with Contents(repository, limit=3) as contents:
        for _ in range(2):
            for file, data in zip(files, DATA, strict=True):
                assert contents.read(file, offset=SIZE - 5, size=99) == data[-5:]
        assert open_descriptors() == before + 3
    assert open_descriptors() == before


def test_small_files_do_not_stay_open(repository: Repository) -> None:
    version = commit_files(repository, "small", {b"a": b"alpha"})
    (node,) = find_nodes(repository, version)
    with Contents(repository) as contents:
        assert contents.read(node, offset=1, size=9) == b"lpha"
        before = open_descriptors()
        assert contents.read(node, offset=1, size=9) == b"lpha"
        assert open_descriptors() == before, "its pack is open, and it is not"


def test_a_file_cut_short_while_it_is_open_is_eio_and_not_zeros(repository: Repository, files: list[FileNode]) -> None:
    with Contents(repository) as contents:
        assert contents.read(files[0], offset=0, size=10) == DATA[0][:10]
        path = Path(repository.location, blob_key(files[0].sha256))
        path.chmod(0o644)
        os.truncate(path, 4096)
        with pytest.raises(DigestMismatchError, match="4096 bytes instead of") as caught:
            contents.read(files[0], offset=0, size=SIZE)
        assert caught.value.errno == 5
        assert files[0].sha256.hex() in caught.value.subject


@pytest.mark.parametrize("damage", ["other bytes", "cut short"])
def test_what_was_damaged_while_it_is_open_is_read_once_it_was_stored_again(
    repository: Repository, tmp_path: Path, damage: str
) -> None:
    data = random.Random(1).randbytes(CHUNK_SIZE + 4096)
    (node,) = find_nodes(repository, commit_files(repository, "huge", {b"a": data}))
    path = Path(repository.location, blob_key(node.sha256))
    path.chmod(0o644)
    with Contents(repository) as contents:
        if damage == "other bytes":
            path.write_bytes(b"x" + data[1:])
        else:
            assert contents.read(node, offset=0, size=10) == data[:10]
            os.truncate(path, 4096)
        before = open_descriptors()
        for _ in range(2):
            with pytest.raises(ArtifactFSError):
                contents.read(node, offset=0, size=4200)
        assert open_descriptors() <= before
        (tmp_path / "new").write_bytes(data)
        (tmp_path / "new").rename(path)
        assert contents.read(node, offset=0, size=4200) == data[:4200]


def test_what_failed_to_open_is_tried_again(repository: Repository, files: list[FileNode]) -> None:
    path = Path(repository.location, blob_key(files[0].sha256))
    hidden = path.with_suffix(".hidden")
    path.rename(hidden)
    with Contents(repository) as contents:
        with pytest.raises(BlobMissingError):
            contents.read(files[0], offset=0, size=1)
        hidden.rename(path)
        assert contents.read(files[0], offset=0, size=1) == DATA[0][:1]


def test_many_threads_read_more_files_than_may_be_open(repository: Repository, files: list[FileNode]) -> None:
    before = open_descriptors()
    failed: list[object] = []
    with Contents(repository, limit=2) as contents:

        def read(seed: int) -> None:
            chosen = random.Random(seed)
            try:
                for _ in range(60):
                    number, offset = chosen.randrange(len(files)), chosen.randrange(SIZE)
                    found = contents.read(files[number], offset=offset, size=3000)
                    if found != DATA[number][offset : offset + 3000]:
                        failed.append((number, offset))
            except (ArtifactFSError, OSError) as error:
                failed.append(error)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert open_descriptors() <= before + 2
    assert open_descriptors() == before
