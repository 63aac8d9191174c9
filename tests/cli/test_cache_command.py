"""`artifactfs cache`, on a cache that a repository in a bucket would have filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifactfs.blobstore.cachequota import CacheLimits
from artifactfs.blobstore.chunkfiles import TRAILER_SIZE
from artifactfs.blobstore.connecting import find_fetched
from artifactfs.blobstore.diskcache import DiskCache
from tests.cli.support import Cli

KEY = "packs/ab/" + "ab" * 32
CONFIGURATION = 4


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskCache:
    monkeypatch.setenv("ARTIFACTFS_CACHE", str(tmp_path / "cache"))
    found = DiskCache(find_fetched(str(tmp_path / "cache")), CacheLimits(1 << 30, 0))
    for number in range(3):
        found.load(KEY, number, 1000, lambda: b"x" * 1000)
    return found


def test_what_is_kept_is_told_and_deleted(cli: Cli, cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_CACHE_SIZE", "1.5G")
    found = cli.json("cache", "info")
    assert found["directory"] == cache.directory
    assert (found["used"], found["chunks"], found["objects"]) == (3 * (1000 + TRAILER_SIZE), 3, 1)
    assert found["size"] == 3 << 29
    assert "3.1 KiB of 1.5 GiB" in cli("cache", "info").stdout
    assert cli.json("cache", "clean", "--keep", "2K")["freed"] == 2 * (1000 + TRAILER_SIZE)
    assert cli.json("cache", "clean")["used"] == 0
    assert "freed 0 B" in cli("cache", "clean").stderr


def test_room_that_a_killed_fetch_took_is_not_told_as_used(cli: Cli, cache: DiskCache) -> None:
    used = cli.json("cache", "info")["used"]
    assert cache.quota.reserve(5000)  # and then the process is gone
    assert cli.json("cache", "info")["used"] == used


def test_damage_is_found_and_deleted(cli: Cli, cache: DiskCache) -> None:
    path = Path(cache.directory, "chunks", f"{KEY}.1")
    path.write_bytes(b"y" + path.read_bytes()[1:])
    found = cli.json("cache", "verify")
    assert (found["chunks"], found["damaged"]) == (3, [f"{KEY}.1"])
    assert not path.exists()
    assert "2 chunks: 0 damaged" in cli("cache", "verify").stderr


@pytest.mark.parametrize("size", ["much", "-1", "5X", ""])
def test_what_is_no_size_is_said(cli: Cli, cache: DiskCache, size: str) -> None:
    assert "is no size" in cli("cache", "clean", "--keep", size, code=CONFIGURATION).stderr
