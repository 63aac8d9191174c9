"""Whether somebody holds a lock, asked without waiting and without keeping it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from artifactfs.filelocks import is_locked


@pytest.mark.parametrize(
    ("held", "asked", "found"),
    [
        (None, fcntl.LOCK_EX, False),
        (fcntl.LOCK_SH, fcntl.LOCK_SH, False),
        (fcntl.LOCK_SH, fcntl.LOCK_EX, True),
        (fcntl.LOCK_EX, fcntl.LOCK_SH, True),
    ],
)
def test_who_holds_a_lock_is_found(tmp_path: Path, held: int | None, asked: int, found: bool) -> None:
    path = tmp_path / "lock"
    path.touch()
    before = os.listdir("/proc/self/fd")
    with path.open() as file:
        if held is not None:
            fcntl.flock(file, held)
        assert [is_locked(str(path), asked) for _ in range(2)] == [found, found]
    assert os.listdir("/proc/self/fd") == before
    assert not is_locked(bytes(path), fcntl.LOCK_EX)


def test_what_is_not_there_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked(str(tmp_path / "missing"), fcntl.LOCK_EX)
    (tmp_path / "file").touch()
    assert not is_locked(str(tmp_path / "file"), fcntl.LOCK_EX, flags=os.O_RDONLY | os.O_DIRECTORY)
