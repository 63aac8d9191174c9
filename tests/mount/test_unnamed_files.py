"""Files without a name (O_TMPFILE) in staging directories: overlayfs makes them, a union says that it does not."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging
from artifactfs.staging.layout import UNION
from tests.mount.conftest import errno_of
from tests.mount.staging_support import area, commit, driver, staged, staging, transport

__all__ = ["area", "commit", "driver", "staged", "staging", "transport"]

pytestmark = pytest.mark.mounted
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400


def link(descriptor: int, path: Path) -> None:
    """Give a file without a name one, as open(2) says under O_TMPFILE."""
    libc = ctypes.CDLL(None, use_errno=True)
    old = f"/proc/self/fd/{descriptor}".encode()
    if libc.linkat(AT_FDCWD, old, AT_FDCWD, bytes(path), AT_SYMLINK_FOLLOW) != 0:
        raise OSError(ctypes.get_errno(), "linkat")


def make(folder: Path, flags: int = 0) -> int:
    return os.open(folder, os.O_TMPFILE | os.O_RDWR | flags, 0o640)


def test_a_union_has_none_and_says_so(staged: Path, driver: str) -> None:
    if driver != UNION:
        pytest.skip("overlayfs makes them: see below")
    for folder in (staged, staged / "images"):
        for flags in (0, os.O_EXCL):
            assert errno_of(lambda folder=folder, flags=flags: make(folder, flags)) == errno.EOPNOTSUPP
    assert sorted(os.listdir(staged)) == sorted(os.listdir(staged.parent / "v0"))


def test_an_overlay_makes_and_names_them(
    staged: Path, driver: str, staging: Staging, repository: Repository, commit: Callable[[Staging], int]
) -> None:
    if driver == UNION:
        pytest.skip("a union has none")
    try:
        descriptor = make(staged / "images")
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("this kernel's overlayfs has none (it came with Linux 6.1)")
    try:
        os.write(descriptor, b"made without a name\n")
        link(descriptor, staged / "images" / "named")
    finally:
        os.close(descriptor)
    assert (staged / "images" / "named").read_text() == "made without a name\n"
    assert commit(staging) == 1
    assert (staged.parent / "v1" / "images" / "named").read_text() == "made without a name\n"


def test_programs_that_want_one_get_one(staged: Path, staging: Staging, commit: Callable[[Staging], int]) -> None:
    with tempfile.TemporaryFile(dir=staged) as file:
        file.write(b"data")
        file.flush()
        file.seek(0)
        assert file.read() == b"data"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert sorted(os.listdir(staged)) == sorted(os.listdir(staged.parent / "v0"))
    assert commit(staging) == 1
