"""Times, sizes and names at their limits: what can be put can be read, and what could not be read is refused."""

from __future__ import annotations

import os
import random
from hashlib import sha256
from pathlib import Path

import pytest

from artifactfs.blobstore import packing
from artifactfs.blobstore.keys import pack_key
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import MalformedError
from artifactfs.model import LARGEST, LAST_NS, FileEntry, limit_time_ns
from artifactfs.repository.check import check_repository
from artifactfs.repository.checkout import checkout
from artifactfs.repository.repository import PACKED_BELOW, Repository
from artifactfs.repository.treebuilder import TreeBuilder
from tests.repository.tree.conftest import entry, put

SECOND = 1_000_000_000


def get(repository: Repository, folder: Path, out: Path) -> Path:
    """Put a folder, check every byte, and return where it was checked out."""
    result = put(repository, f"{folder}/")
    assert check_repository(repository, share=1).damage == ()
    checkout(repository, result.version.root, os.fsencode(out))
    return out


@pytest.mark.parametrize(
    "mtime_ns", [-1, -SECOND - 1, -(2**31) * SECOND, 2**33 * SECOND + 1, LAST_NS, LAST_NS + 1, 10**19]
)
def test_a_time_of_any_year_can_be_read_again(repository: Repository, work: Path, mtime_ns: int) -> None:
    """Those after 2262, which file systems know and entries do not, become the last one."""
    source = work / "source"
    (source / "directory").mkdir(parents=True)
    (source / "file").write_bytes(b"x")
    os.symlink("file", source / "link")
    for path in (source / "file", source / "link", source / "directory", source):
        os.utime(path, ns=(0, mtime_ns), follow_symlinks=False)
        if path.lstat().st_mtime_ns != mtime_ns:
            pytest.skip("this file system does not know the time")
    out = get(repository, source, work / "out")
    found = {path.lstat().st_mtime_ns for path in (out, out / "file", out / "link", out / "directory")}
    assert found == {limit_time_ns(mtime_ns)}


@pytest.mark.parametrize(("size", "mtime_ns"), [(LARGEST, 0), (1, LAST_NS + 1)], ids=["sizes", "time"])
def test_a_directory_that_nobody_could_read_is_not_stored(repository: Repository, size: int, mtime_ns: int) -> None:
    entries = [FileEntry(name, 0o644, mtime_ns, size, bytes(32)) for name in (b"a", b"b")]
    with repository.blobs.begin() as batch, pytest.raises(MalformedError):
        TreeBuilder(batch).store_directory(b"/", mode=0o755, mtime_ns=0, entries=entries)


def test_files_around_each_size_at_which_something_changes(repository: Repository, work: Path) -> None:
    source = work / "source"
    source.mkdir()
    rng = random.Random(5)
    edges = (0, PACKED_BELOW, CHUNK_SIZE, 2 * CHUNK_SIZE)
    for size in {max(0, edge + more) for edge in edges for more in (-1, 0, 1)}:
        (source / f"{size}").write_bytes(rng.randbytes(size))
    (source / "also empty").write_bytes(b"")
    result = put(repository, f"{source}/")
    for path in source.iterdir():
        file = entry(repository, result, os.fsencode(path.name))
        assert (file.size, file.sums is not None) == (path.stat().st_size, file.size > CHUNK_SIZE)
    out = get(repository, source, work / "out")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }


def test_names_as_long_as_they_may_be(repository: Repository, work: Path) -> None:
    source = work / "source"
    below = os.fsencode(source)
    for letter in (b"d", b"e", b"\xff"):
        below = os.path.join(below, letter * 255)
    os.makedirs(below)
    for name in (b"n" * 255, b"\xc3\xa9" * 127 + b"\xa9", b"\n", b"-", b"~" * 255):
        Path(os.fsdecode(os.path.join(below, name))).write_bytes(name)
    out = get(repository, source, work / "out")
    read = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(read) == 5
    assert {os.fsencode(path.name): data for path, data in read.items()} == {data: data for data in read.values()}


def test_a_pack_of_empty_files_only(repository: Repository, work: Path) -> None:
    source = work / "source"
    source.mkdir()
    (source / "empty").touch()
    out = get(repository, source, work / "out")
    assert (out / "empty").read_bytes() == b""


def test_a_pack_ends_with_its_last_file_of_many(
    repository: Repository, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PACK_COUNT", 100)
    source = work / "source"
    source.mkdir()
    for number in range(201):
        (source / f"{number:03d}").write_bytes(b"%d" % number)
    out = get(repository, source, work / "out")
    assert [(out / f"{number:03d}").read_bytes() for number in range(201)] == [b"%d" % n for n in range(201)]
    packs = list(repository.store.iter_keys("packs/"))
    expected = ["".join(map(str, range(start, min(start + 100, 201)))).encode() for start in (0, 100, 200)]

    assert sorted(packs) == sorted(pack_key(sha256(data).digest()) for data in expected)
