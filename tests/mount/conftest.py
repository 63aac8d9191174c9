"""Mounted tests: each mount is a child process; dead mounts are swept before and after."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from artifactfs.errors import ArtifactFSError
from artifactfs.mount import api, launch
from artifactfs.mount.mountinfo import read_mounts
from artifactfs.mount.mountpoint import detach
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.orders import Order
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository, open_repository

SERVER = Path(__file__).with_name("memory_server.py")


@dataclass(frozen=True, slots=True)
class Folders:
    """What `Places` is, for one test."""

    repository: str
    state: str
    cache: str
    runtime: str


def wait_until(condition: Callable[[], object], *, seconds: float = 20) -> None:
    """Return when `condition` holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.01)


def errno_of(call: Callable[[], object]) -> int | None:
    """Return the errno of the `OSError` that a call raises; None when it raises none."""
    try:
        call()
    except OSError as error:
        return error.errno
    return None


def sweep(folder: str) -> None:
    """Unmount everything of artifactfs at and below a folder."""
    for line in reversed(read_mounts()):
        if line.is_ours and (line.mountpoint + "/").startswith(folder + "/"):
            with suppress(ArtifactFSError):  # what lies in a dead mount goes with it
                detach(line.mountpoint, lazy=True)


def iter_servers(folder: str) -> Iterator[int]:
    """Yield the ids of processes of mounts below a folder, and of those that bring such mounts back.

    The command line of a server that was started ahead does not name the folder; its environment does.
    """
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            words = Path("/proc", name, "cmdline").read_bytes()
            environment = Path("/proc", name, "environ").read_bytes()
            if b"artifactfs.mount." in words and os.fsencode(folder) + b"/" in words + environment:
                yield int(name)


def end_servers(folder: str, *, seconds: float = 4) -> None:
    """Unmount everything below a folder and return when nothing serves it: who was killed may be brought back late."""
    deadline = time.monotonic() + seconds
    sweep(folder)
    while left := list(iter_servers(folder)):
        if time.monotonic() > deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        sweep(folder)


@pytest.fixture(scope="session", autouse=True)
def swept() -> None:
    """Clear the dead mounts of an interrupted earlier run; each test clears its own."""
    folder = os.path.realpath(tempfile.gettempdir()) + "/pytest-of-"
    for line in reversed(read_mounts()):
        if line.is_ours and line.mountpoint.startswith(folder) and has_no_server(line.mountpoint):
            with suppress(ArtifactFSError):  # of other tests that run now, and just gone
                detach(line.mountpoint, lazy=True)


def has_no_server(mountpoint: str) -> bool:
    """Return whether a mount is dead. A process of its own asks: the mount may be one that hangs."""
    try:
        done = subprocess.run(["stat", "-f", mountpoint], capture_output=True, check=False, timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return b"not connected" in done.stderr


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    """Return directories for one test; what is mounted in them is unmounted afterwards."""
    names = [field.name for field in dataclasses.fields(Folders)]
    for name in names:
        (tmp_path / name).mkdir(mode=0o700)
    yield Folders(*(str(tmp_path / name) for name in names))
    end_servers(str(tmp_path))


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    """Return an empty directory."""
    path = tmp_path / "mnt"
    path.mkdir()
    return path


@pytest.fixture
def place(mountpoint: Path) -> Iterator[Path]:
    """Return an empty directory; what a program mounts on it is unmounted afterwards."""
    yield mountpoint
    end_servers(str(mountpoint.parent))


@pytest.fixture
def memory_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make servers show the sample tree instead of a repository."""

    def command_for(order: Order) -> list[str]:
        return [sys.executable, str(SERVER), order.encode()]

    monkeypatch.setattr(launch, "command_for", command_for)


@pytest.fixture
def memory_mount(folders: Folders, mountpoint: Path, memory_server: None) -> MountInfo:
    """Return a mount of the sample tree."""
    return api.mount(folders, str(mountpoint), options=MountOptions())


TIME_NS = 1_600_000_000_123_456_789
BIG_SIZE = 9 * 1024 * 1024 + 12345


def make_tree(top: Path) -> None:
    """Write a tree with everything that a version keeps."""
    (top / "images" / "deep" / "deeper").mkdir(parents=True)
    (top / "images" / "cat.png").write_bytes(random.Random(1).randbytes(300_000))
    (top / "images" / "deep" / "deeper" / "file").write_text("deep\n")
    (top / "empty").mkdir()
    (top / "README").write_text("hello\n")
    (top / "nothing").write_bytes(b"")
    (top / "big").write_bytes(random.Random(2).randbytes(BIG_SIZE))
    (top / "link").symlink_to("README")
    (top / "dangling").symlink_to("nowhere/at all")
    Path(os.fsdecode(bytes(top) + b"/not-\xff-utf8")).write_text("odd name\n")
    (top / "run.sh").write_text("#!/bin/sh\necho ran $1\n")
    (top / "run.sh").chmod(0o755)
    (top / "many").mkdir()
    for number in range(300):
        (top / "many" / f"f{number:04d}").write_text(f"content {number}\n")
    for path in [*top.rglob("*"), top]:
        os.utime(path, ns=(TIME_NS, TIME_NS), follow_symlinks=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a directory with the sample tree."""
    top = tmp_path / "source"
    top.mkdir()
    make_tree(top)
    return top


@pytest.fixture
def repository(folders: Folders, source: Path) -> Iterator[Repository]:
    """Return a repository with `animals:v0`, the sample tree."""
    with open_repository(folders.repository, state=folders.state, author="tester") as found:
        put(found, source)
        yield found


def put(repository: Repository, path: Path, *, name: str = "animals", aliases: tuple[str, ...] = ()) -> None:
    """Commit the contents of a directory."""
    put_paths(repository, name, [Source(bytes(path), b"")], CommitOptions(aliases=aliases))


@pytest.fixture(params=["kernel", "fusepy"])
def transport(request: pytest.FixtureRequest) -> str:
    """Return the transport that serves the mount: both keep one contract."""
    return str(request.param)


@pytest.fixture
def mounted(folders: Folders, repository: Repository, mountpoint: Path, transport: str) -> MountInfo:
    """Return a mount of the repository."""
    info = api.mount(folders, str(mountpoint), options=MountOptions(author="tester", transport=transport))
    assert transport in ("auto", info.transport)
    return info


@pytest.fixture
def version(mounted: MountInfo) -> Path:
    """Return `animals:v0` in the mount."""
    return Path(mounted.mountpoint, "animals", "v0")
