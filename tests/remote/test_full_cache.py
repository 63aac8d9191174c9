"""A cache on a disk that is full: reads go on without it, serve nothing wrong, and keep again when there is room."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote.test_ahead import FULL, LARGE, SMALL, Machine, machine, team

__all__ = ["machine", "team"]
pytestmark = [pytest.mark.slow, pytest.mark.mounted, pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk")]
NO_FLOOR = {"ARTIFACTFS_CACHE_FREE": "0"}


@pytest.fixture(params=["size=6m", "size=64m,nr_inodes=14"], ids=["blocks", "inodes"])
def disk(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return the cache directory of a machine, on a disk of its own: without blocks for all, or without inodes."""
    path = Path(machine.environ()["ARTIFACTFS_CACHE"])
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    junk = disk / "junk"
    with junk.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            pass
    return junk


def read_all(top: Path) -> None:
    assert (top / "big").read_bytes() == LARGE
    for name, content in SMALL.items():
        assert (top / "d" / name.decode()).read_bytes() == content


def test_what_does_not_fit_is_read_all_the_same(machine: Machine, disk: Path, tmp_path: Path) -> None:
    machine("get", "animals", str(tmp_path / "out"), **NO_FLOOR)
    read_all(tmp_path / "out")
    assert "no room" in machine("fetch", "animals", code=FULL, **NO_FLOOR)
    assert json.loads(machine("cache", "verify", "--json", **NO_FLOOR))["damaged"] == []


def test_a_mount_reads_on_while_the_disk_is_full_and_keeps_again_afterwards(
    machine: Machine, disk: Path, tmp_path: Path
) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    machine("mount", str(mountpoint), **NO_FLOOR)
    try:
        top = mountpoint / "animals" / "v0"
        assert (top / "e" / "x").read_bytes() == b"1"
        junk = fill(disk)
        read_all(top)
        junk.unlink()
        machine("cache", "clean", **NO_FLOOR)
        assert machine("cat", "animals/e/x", **NO_FLOOR) == "1"
        read_all(top)
    finally:
        machine("umount", str(mountpoint))
    assert json.loads(machine("cache", "verify", "--json", **NO_FLOOR))["damaged"] == []
    assert json.loads(machine("cache", "info", "--json", **NO_FLOOR))["chunks"] > 0
