"""What the kernel keeps of listings, and what makes it ask again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.repository.repository import Repository

from .conftest import Server
from .support import Mount, put, requests

pytestmark = pytest.mark.mounted
Serve = Callable[..., Server]
COUNT = 20_000
PAGE = 4096


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    root = tmp_path / "wide"
    root.mkdir()
    (root / "0").write_bytes(b"")
    for number in range(1, COUNT):
        os.link(root / "0", root / f"{number:08d}")
    return root


def listed(server: Server) -> int:
    """List the directory, and return how many READDIRPLUS that took."""
    before = server.asked().get("READDIRPLUS", 0)
    assert len(os.listdir(server.path)) == COUNT
    return server.asked().get("READDIRPLUS", 0) - before


def test_a_second_listing_asks_nothing(serve: Serve, wide: Path) -> None:
    server = serve(wide, "--debug")
    assert listed(server) >= 50
    assert listed(server) == 0


def test_one_reclaimed_page_of_a_listing_costs_the_rest_of_it_and_the_next_one(serve: Serve, wide: Path) -> None:
    """Why large directories are asked for again, in part, on machines that reclaim cold memory.

    Source: fuse_readdir_cached in fs/fuse/readdir.c: a page that is missing resets the whole cache, the listing goes on
    without it from there, and only one that starts at the beginning fills it again.
    """
    server = serve(wide, "--debug")
    whole = listed(server)
    assert listed(server) == 0
    directory = os.open(server.path, os.O_RDONLY)
    try:
        size = COUNT * (24 + 8)  # of the records without attributes, which is what is kept
        os.posix_fadvise(directory, size // 2 // PAGE * PAGE, PAGE, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(directory)
    assert 0.3 * whole < listed(server) < 0.7 * whole
    assert listed(server) == whole
    assert listed(server) == 0


def test_mounting_does_not_list_what_is_mounted(mount: Mount, repository: Repository, wide: Path) -> None:
    put(repository, "wide", wide)
    info = mount(artifact="wide:latest")
    assert requests(info)["readdirplus"] == 1
    assert len(os.listdir(info.mountpoint)) == COUNT
