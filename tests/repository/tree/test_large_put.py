"""Putting many files asks the store little, and holds little in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from artifactfs.blobstore.local import LocalStore
from artifactfs.repository.objects import LOOK_EVERY
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository
from artifactfs.repository.treepacks import TreePacker
from artifactfs.testing.repositories import make_repository

DIRECTORIES = 4 * LOOK_EVERY


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return many directories with a file in each."""
    folder = tmp_path / "source"
    for number in range(DIRECTORIES):
        (folder / f"d{number}").mkdir(parents=True)
        (folder / f"d{number}" / "file").write_text(str(number))
    return folder


def put(repository: Repository, source: Path) -> object:
    return put_paths(repository, "data", [Source(os.fsencode(source), b"")]).version.root


def test_pages_do_not_wait_where_everything_is_stored_already(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    real = TreePacker.add

    def note(self: TreePacker, *arguments: object) -> object:
        waiting.append(self.waiting_count)
        return real(self, *arguments)  # type: ignore[arg-type]

    with make_repository(tmp_path / "top", packed_below=1 << 20) as repository:
        first = put(repository, source)
        monkeypatch.setattr(TreePacker, "add", note)
        assert put(repository, source) == first
    assert len(waiting) > DIRECTORIES
    assert max(waiting) < LOOK_EVERY


def test_the_store_is_not_asked_for_each_small_file(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = LocalStore.find_size

    def note(self: LocalStore, key: str) -> int | None:
        asked.append(key)
        return real(self, key)

    monkeypatch.setattr(LocalStore, "find_size", note)
    with make_repository(tmp_path / "top", packed_below=1 << 20) as repository:
        put(repository, source)
    assert [key for key in asked if key.startswith("blobs/")] == []


def test_small_files_that_lie_as_objects_are_not_packed(tmp_path: Path, source: Path) -> None:
    with make_repository(tmp_path / "top", packed_below=0) as repository:
        put(repository, source)
    with make_repository(tmp_path / "top", packed_below=1 << 20) as repository:
        put(repository, source)
        assert list(repository.store.iter_keys("packs/")) == []
