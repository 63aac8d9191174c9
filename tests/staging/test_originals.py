"""What is restored is written whole, or not at all."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artifactfs.repository.originals import Original, ShownOriginal, StoredOriginal
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files

CONTENT = b"0123456789" * 100_000


def stored(repository: Repository, folder: Path) -> Original:
    return StoredOriginal(repository, commit_files(repository, "animals", {b"file": CONTENT}).root)


def shown(repository: Repository, folder: Path) -> Original:
    (folder / "file").write_bytes(CONTENT)
    return ShownOriginal(bytes(folder))


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """Let files have so many bytes: a write beyond is cut short, and the next one fails, as on a disk that fills."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def copy(original: Original, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        original.copy(b"file", descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("make", [stored, shown])
def test_a_part_that_still_had_room_is_no_success(
    make: Callable[[Repository, Path], Original], repository: Repository, tmp_path: Path
) -> None:
    folder = tmp_path / "shown"
    folder.mkdir()
    original = make(repository, folder)
    copy(original, tmp_path / "whole")
    with limited_files(len(CONTENT) - 1), pytest.raises(OSError, match="too large"):
        copy(original, tmp_path / "part")
    assert (tmp_path / "whole").read_bytes() == CONTENT
