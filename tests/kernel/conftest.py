"""Mounts for the tests of the kernel transport: each in a process of its own, swept before and after."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from artifactfs.mount import api
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.repository.repository import Repository, open_repository

from .support import Folders, Mount
from .waiting import wait_until

SERVER = Path(__file__).with_name("serve_tree.py")


def descendants(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Server:
    """A mounted directory and the processes that serve it."""

    def __init__(self, root: Path, mountpoint: Path, *options: str, log: Path, pass_fds: tuple[int, ...] = ()) -> None:
        self.root, self.path, self.log = root, mountpoint, log
        self._out = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(SERVER), str(root), str(mountpoint), *options],
            stdout=subprocess.PIPE,
            stderr=self._out,
            pass_fds=pass_fds,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            self.process.wait()
            raise AssertionError(f"the server did not start: {self.logged()}")
        wait_until(lambda: self.process.poll() is not None or self.workers(), what="workers")

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> list[int]:
        return [pid for pid in descendants(self.pid) if command_name(pid).startswith("af-worker")]

    def logged(self) -> str:
        return self.log.read_text()

    def asked(self) -> dict[str, int]:
        """Return how many requests of each kind the log tells of (needs --debug).

        A worker writes its line after it has answered, so the log is read until it stays the same.
        """
        before = b""
        while (now := self.log.read_bytes()) != before:
            before = now
            time.sleep(0.05)
        counts: dict[str, int] = {}
        for line in self.logged().splitlines():
            words = line.split()
            if len(words) > 3 and words[1] == "DEBUG" and words[3].startswith("node="):
                counts[words[2]] = counts.get(words[2], 0) + 1
        return counts

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=20)
        subprocess.run(["umount", "-l", str(self.path)], capture_output=True, check=False)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._out.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(root: Path, *options: str, **more: tuple[int, ...]) -> Server:
        mountpoint = tmp_path / f"mnt{len(servers)}"
        with suppress(FileExistsError):
            os.mkdir(mountpoint)  # not Path.mkdir(exist_ok): it would look into a mount that nobody serves yet
        server = Server(root, mountpoint, *options, log=tmp_path / f"log{len(servers)}", **more)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small directory with everything that a version can hold."""
    root = tmp_path / "tree"
    (root / "images" / "empty").mkdir(parents=True)
    (root / "cat.txt").write_bytes(b"a cat\n" * 1000)
    (root / "images" / "large.bin").write_bytes(os.urandom(3 << 20))
    (root / "nothing").write_bytes(b"")
    (root / "link").symlink_to("images/large.bin")
    (root / "broken").symlink_to("no/where")
    os.mkdir(os.fsencode(root) + b"/not-utf8-\xff")
    with open(os.fsencode(root) + b"/not-utf8-\xff/" + b"n" * 255, "wb") as file:
        file.write(b"long")
    (root / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "run.sh").chmod(0o755)
    os.utime(root / "cat.txt", ns=(1, 1_234_567_890_123_456_789))
    return root


@pytest.fixture
def forest(tmp_path: Path) -> Path:
    root = tmp_path / "forest"
    rng = random.Random(5)
    for folder in range(8):
        place = root / f"class{folder}"
        place.mkdir(parents=True)
        for number in range(30):
            (place / f"image{number:03d}.bin").write_bytes(rng.randbytes(rng.randrange(1, 40_000)))
    (root / "large.bin").write_bytes(rng.randbytes(6 << 20))
    return root


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(*(str(tmp_path / name) for name in ("repository", "state", "cache", "runtime")))


@pytest.fixture
def repository(folders: Folders) -> Iterator[Repository]:
    with open_repository(folders.repository, state=folders.state, author="tester") as repository:
        yield repository


@pytest.fixture
def mount(folders: Folders, tmp_path: Path) -> Iterator[Mount]:
    places: list[str] = []

    def start(**options: Any) -> MountInfo:
        place = tmp_path / f"mnt{len(places)}"
        place.mkdir()
        places.append(str(place))
        return api.mount(folders, str(place), options=MountOptions(**{"transport": "kernel", **options}))

    yield start
    for place in places:
        with suppress(Exception):
            api.unmount(folders, place, lazy=True)
        subprocess.run(["umount", "-l", place], capture_output=True, check=False)
