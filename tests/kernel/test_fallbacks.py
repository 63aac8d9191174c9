"""Kernels that lack something: the INIT of a real mount is changed to that of an older kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import SERVER, Server
from .waiting import wait_until

pytestmark = pytest.mark.mounted
Serve = Callable[..., Server]


def check_everything(server: Server, tree: Path) -> None:
    subprocess.run(["diff", "-r", "--no-dereference", tree, server.path], check=True)
    assert sorted(os.listdir(server.path)) == sorted(os.listdir(tree))
    for path in tree.rglob("*"):
        there = os.lstat(server.path / path.relative_to(tree))
        assert (there.st_size, there.st_mode) == (os.lstat(path).st_size, os.lstat(path).st_mode)


@pytest.mark.parametrize(
    ("feature", "line"),
    [
        ("HAS_RESEND", "requests of a killed worker end with an error"),
        ("HAS_EXPIRE_ONLY", "names of collections and versions are asked for each time"),
        ("MAX_PAGES", "large files are read in pieces of 128 KiB"),
        ("CACHE_SYMLINKS", "aliases are read on every use"),
        ("DO_READDIRPLUS", "every name is looked up"),
    ],
)
def test_a_missing_feature_has_a_fallback_and_a_line(serve: Serve, tree: Path, feature: str, line: str) -> None:
    server = serve(tree, "--without", feature)
    check_everything(server, tree)
    assert line in server.logged()


@pytest.mark.parametrize("minor", [31, 36, 40])
def test_older_protocols(serve: Serve, tree: Path, minor: int) -> None:
    server = serve(tree, "--minor", str(minor), "--without", "INIT_EXT,HAS_RESEND,HAS_EXPIRE_ONLY,PASSTHROUGH")
    assert f"protocol 7.{minor}," in server.logged()
    check_everything(server, tree)


def test_a_protocol_that_is_too_old_is_refused(tree: Path, tmp_path: Path) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    command = [sys.executable, str(SERVER), str(tree), str(mountpoint), "--minor", "30"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=30)
    finally:
        subprocess.run(["umount", "-l", str(mountpoint)], capture_output=True, check=False)
    assert done.returncode != 0
    assert b"speaks FUSE 7.30; the kernel transport needs 7.31 (Linux 5.4)" in done.stderr


def test_without_resend_a_killed_worker_is_still_replaced(serve: Serve, tree: Path) -> None:
    server = serve(tree, "--without", "HAS_RESEND")
    wait_until(lambda: len(server.workers()) == 2)
    before = server.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(server.workers()) == 2 and not set(before) & set(server.workers()))
    check_everything(server, tree)


def test_without_passthrough_large_files_are_read_through_the_workers(serve: Serve, tree: Path) -> None:
    server = serve(tree, "--passthrough", "--without", "PASSTHROUGH")
    check_everything(server, tree)
    assert "this kernel has no passthrough" in server.logged()


@pytest.mark.skipif(os.geteuid() != 0, reason="registering backing files needs root")
def test_passthrough_where_it_is_there(serve: Serve, tree: Path) -> None:
    server = serve(tree, "--passthrough")
    check_everything(server, tree)
    assert "large files are handed to the kernel" in server.logged()
