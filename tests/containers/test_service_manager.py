"""A mount below a service manager: what it is told, what it keeps, and how the next server finds the mount."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.mountpoint import is_dead
from artifactfs.mount.registry import find_live
from artifactfs.mount.service.kept import NAMES
from tests.containers.support import READER, Host, is_mounted, kill
from tests.mount.conftest import wait_until

pytestmark = pytest.mark.mounted
LAUNCH = """
import os, sys
names, numbers = sys.argv[1].split(":"), [int(word) for word in sys.argv[2].split(",") if word]
for index, number in enumerate(numbers):
    os.dup2(number, 100 + index)
for index in range(len(numbers)):
    os.dup2(100 + index, 3 + index)
if numbers:
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": ":".join(names)}
os.execvp("artifactfs", ["artifactfs", *sys.argv[3:]])
"""


class Manager:
    """Keeps descriptors as systemd does, by the protocol of sd_notify(3) and sd_listen_fds(3)."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(60)
        self.kept: dict[str, int] = {}

    def start(self, *arguments: str | Path) -> subprocess.Popen[Any]:
        """Start a server with what is kept, and return when it is ready."""
        numbers = list(self.kept.values())
        words = [":".join(self.kept), ",".join(map(str, numbers)), "mount", "--foreground", *arguments]
        process = self.host.start(
            sys.executable, "-c", LAUNCH, *words,
            env={**self.host.env, "NOTIFY_SOCKET": str(self.path)}, pass_fds=numbers, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while self.take().get("READY") != "1":
            pass
        return process

    def take(self) -> dict[str, str]:
        """Take one message."""
        data, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 16)
        fields = dict(line.partition("=")[::2] for line in data.decode().splitlines())
        if "FDSTOREREMOVE" in fields:
            number = self.kept.pop(fields["FDNAME"], None)
            if number is not None:
                os.close(number)
        for number in descriptors:
            assert fields["FDSTORE"] == "1"
            self.kept[fields["FDNAME"]] = number
        return fields

    def close(self) -> None:
        for number in self.kept.values():
            os.close(number)
        self.socket.close()


@pytest.fixture
def manager(host: Host, tmp_path: Path) -> Iterator[Manager]:
    found = Manager(host, tmp_path)
    yield found
    found.close()


def test_a_killed_server_finds_its_mount_again(manager: Manager, mountpoint: Path, tmp_path: Path) -> None:
    first = manager.start(mountpoint)
    assert tuple(manager.kept) == NAMES
    device = find_mount(str(mountpoint)).device
    path, stop = mountpoint / "animals" / "v0" / "images" / "cat.png", tmp_path / "stop"
    reader = manager.host.start(sys.executable, "-c", READER, path, stop, stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "reading\n"
    kill(first.pid)
    first.wait()
    manager.start(mountpoint)
    stop.touch()
    reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert find_mount(str(mountpoint)).device == device


def test_sigusr1_leaves_the_mount_to_the_next_server(manager: Manager, mountpoint: Path) -> None:
    first = manager.start(mountpoint)
    # Not this process: its children close what they inherit, which asks the server that they are to start.
    script = 'exec 3<"$0"; echo open; read line; cat <&3'
    command = ["bash", "-c", script, mountpoint / "animals" / "v0" / "README"]
    holder = manager.host.start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "open\n"
    first.send_signal(signal.SIGUSR1)
    assert first.wait(timeout=30) == 0
    assert is_mounted(mountpoint)
    manager.start(mountpoint)
    assert holder.communicate("go\n", timeout=30) == ("hello\n", None)


def test_sigterm_unmounts(manager: Manager, mountpoint: Path) -> None:
    first = manager.start(mountpoint)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    assert not is_mounted(mountpoint)


def test_sigusr1_unmounts_when_nobody_keeps_the_mount(host: Host, mountpoint: Path) -> None:
    server = host.start("artifactfs", "mount", "--foreground", mountpoint, stderr=subprocess.DEVNULL)
    host.supervisor(mountpoint)
    server.send_signal(signal.SIGUSR1)
    assert server.wait(timeout=30) == 0
    assert not is_mounted(mountpoint)


def test_other_options_make_another_mount(manager: Manager, mountpoint: Path) -> None:
    first = manager.start(mountpoint)
    before = find_live(manager.host.folders, str(mountpoint)).started_ns
    first.send_signal(signal.SIGUSR1)
    first.wait(timeout=30)
    manager.start("--freeze-aliases", mountpoint)
    assert find_live(manager.host.folders, str(mountpoint)).started_ns != before
    assert (mountpoint / "animals" / "v0" / "README").read_text() == "hello\n"
    assert tuple(manager.kept) == NAMES


def test_a_mount_that_was_taken_away_meanwhile_is_made_again(manager: Manager, mountpoint: Path) -> None:
    first = manager.start(mountpoint)
    kill(first.pid)
    first.wait()
    subprocess.run(["umount", "-l", mountpoint], check=True)
    manager.start(mountpoint)
    assert (mountpoint / "animals" / "v0" / "README").read_text() == "hello\n"


def test_a_mount_that_nobody_keeps_is_dead_and_made_again(host: Host, mountpoint: Path) -> None:
    host.run("mount", mountpoint)
    pid = host.supervisor(mountpoint)
    kill(pid)
    wait_until(lambda: is_dead(str(mountpoint)))
    host.run("mount", mountpoint)
    assert (mountpoint / "animals" / "v0" / "README").read_text() == "hello\n"
    assert host.supervisor(mountpoint) != pid
