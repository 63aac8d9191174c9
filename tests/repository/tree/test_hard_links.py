"""Hard links into the store, which somebody has to ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from artifactfs.errors import DigestMismatchError
from artifactfs.repository.check import check_repository
from artifactfs.repository.checkout import checkout
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import make_repository

LARGE = os.urandom(5 << 20)


@pytest.fixture
def repository(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(LARGE)
    (source / "small").write_bytes(b"small")
    (source / "empty").write_bytes(b"")
    (source / "program").write_bytes(LARGE[1:])
    (source / "program").chmod(0o755)
    with make_repository(tmp_path) as repository:
        put_paths(repository, "data", [Source(os.fsencode(source) + b"/")])
        yield repository


def get(repository: Repository, target: Path, *, hard_links: bool):
    root = repository.get_collection("data").versions[0].root
    return checkout(repository, root, os.fsencode(target), hard_links=hard_links)


def test_large_files_are_linked_and_others_copied(repository: Repository, tmp_path: Path) -> None:
    result = get(repository, tmp_path / "got", hard_links=True)
    assert (result.files, result.linked, result.copied + result.cloned) == (4, 1, 3)
    links = {path.name: path.stat().st_nlink for path in (tmp_path / "got").iterdir()}
    assert links == {"large": 2, "small": 1, "empty": 1, "program": 1}
    assert (tmp_path / "got" / "large").read_bytes() == LARGE
    assert (tmp_path / "got" / "large").stat().st_mode & 0o222 == 0
    assert (tmp_path / "got" / "program").stat().st_mode & 0o777 == 0o755
    assert not check_repository(repository, share=1.0).damage
    (tmp_path / "got" / "large").unlink()
    assert get(repository, tmp_path / "again", hard_links=False).linked == 0


def test_nobody_gets_links_without_asking(repository: Repository, tmp_path: Path) -> None:
    assert get(repository, tmp_path / "got", hard_links=False).linked == 0
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "got").iterdir())


def test_damage_is_not_linked(repository: Repository, tmp_path: Path) -> None:
    for blob in [path for path in Path(repository.location, "blobs").rglob("*") if path.is_file()]:
        blob.chmod(0o644)
        with blob.open("r+b") as file:
            file.seek(3 << 20)
            file.write(b"damage")
    with pytest.raises(DigestMismatchError):
        get(repository, tmp_path / "got", hard_links=True)
    assert not any(path.stat().st_nlink > 1 for path in tmp_path.glob("got/**/*") if path.is_file())


def test_another_file_system_gets_copies(repository: Repository, tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    target = other / f"artifactfs-test-{os.getpid()}"
    try:
        assert get(repository, target, hard_links=True).linked == 0
        assert (target / "large").read_bytes() == LARGE
    finally:
        for path in [*target.glob("*"), target]:
            path.rmdir() if path.is_dir() else path.unlink()
