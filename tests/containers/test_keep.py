"""Mounts whose server is killed: a small process keeps them, and nobody who reads notices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from artifactfs.mount.orders import REPOSITORY, Order
from artifactfs.mount.service.manager import parse_listening
from artifactfs.mount.service.minder import FAILURE_LIMIT, Minder
from tests.containers.support import READER, Host, finish_reading, is_mounted, kill
from tests.mount.conftest import wait_until

mounted = pytest.mark.mounted


@mounted
def test_no_read_fails_while_supervisors_are_killed(host: Host, mountpoint: Path, tmp_path: Path) -> None:
    host.run("mount", "--keep", mountpoint)
    path, stop = mountpoint / "animals" / "v0" / "images" / "cat.png", tmp_path / "stop"
    reader = host.start(sys.executable, "-c", READER, path, stop, stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "reading\n"
    killed = set()
    for _ in range(3):
        pid = host.supervisor(mountpoint)
        killed.add(pid)
        kill(pid)
        wait_until(lambda gone=pid: host.supervisor(mountpoint) != gone)
    finish_reading(reader, stop)
    assert len(killed) == 3


@mounted
def test_a_working_directory_and_an_open_file_survive_the_supervisor(host: Host, mountpoint: Path) -> None:
    host.run("mount", "--keep", mountpoint)
    inside = mountpoint / "animals" / "v0"
    with open(inside / "big", "rb") as file:
        start = file.read(4096)
        kill(host.supervisor(mountpoint))
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        done = subprocess.run(["cat", "README"], cwd=inside, capture_output=True, check=False, timeout=30)
        assert done.stdout == b"hello\n"
        file.seek(0)
        assert file.read(4096) == start
    host.run("umount", mountpoint)
    assert not is_mounted(mountpoint)


@mounted
def test_an_ended_minder_unmounts(host: Host, mountpoint: Path) -> None:
    minder = host.start("artifactfs", "mount", "--keep", "--foreground", mountpoint, stderr=subprocess.DEVNULL)
    host.supervisor(mountpoint)
    minder.send_signal(signal.SIGTERM)
    assert minder.wait(timeout=30) == 0
    assert not is_mounted(mountpoint)


@mounted
def test_unmounting_ends_the_minder(host: Host, mountpoint: Path) -> None:
    minder = host.start("artifactfs", "mount", "--keep", "--foreground", mountpoint, stderr=subprocess.DEVNULL)
    host.supervisor(mountpoint)
    host.run("umount", mountpoint)
    assert minder.wait(timeout=30) == 0


@mounted
def test_an_upgraded_server_is_kept_too(host: Host, mountpoint: Path) -> None:
    host.run("mount", "--keep", mountpoint)
    pid = host.supervisor(mountpoint)
    host.run("mount", "--upgrade", mountpoint)
    kill(pid)
    wait_until(lambda: host.supervisor(mountpoint) != pid)
    assert (mountpoint / "animals" / "v0" / "README").read_text() == "hello\n"


@mounted
def test_what_cannot_be_mounted_is_said_at_once(host: Host, mountpoint: Path) -> None:
    said = host.run("mount", "--keep", "--artifact", "nothing", mountpoint, code=10)
    assert "nothing" in said
    (mountpoint / "file").touch()
    assert "not empty" in host.run("mount", "--keep", mountpoint, code=60)


def test_a_server_that_cannot_start_again_is_given_up(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    program = """
import json, os, socket, sys
order = json.loads(sys.argv[1])
open(sys.argv[2], "a").write("x")
socket.socket(fileno=order["manager"]["descriptor"]).send(b"READY=1")
sys.exit(5)
"""
    order = Order(REPOSITORY, str(tmp_path / "mnt"), *[str(tmp_path)] * 4)
    minder = Minder(order, command_for=lambda order: [sys.executable, "-c", program, order.encode(), str(starts)])
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert minder.run() == 5
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert starts.read_text() == "x" * FAILURE_LIMIT


def test_names_of_descriptors_are_those_of_systemd() -> None:
    assert parse_listening("", 1) == {"": 3}
    assert parse_listening("a:b", 2) == {"a": 3, "b": 4}
