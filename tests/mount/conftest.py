"""Mounted tests: each mount is a child process; dead mounts are swept before and after."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from artifactfs.mount import api, launch
from artifactfs.mount.mountinfo import read_mounts
from artifactfs.mount.mountpoint import detach
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.orders import Order

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


def sweep(folder: str) -> None:
    """Unmount everything of artifactfs at and below a folder."""
    for line in reversed(read_mounts()):
        if line.is_ours and (line.mountpoint + "/").startswith(folder + "/"):
            detach(line.mountpoint, lazy=True)


@pytest.fixture(scope="session", autouse=True)
def swept() -> Iterator[None]:
    """Leave no mount of an interrupted earlier run, and none of this one."""
    folder = os.path.realpath(tempfile.gettempdir()) + "/pytest-of-"
    for line in reversed(read_mounts()):
        if line.is_ours and line.mountpoint.startswith(folder) and api.doctor.is_dead(line.mountpoint):
            detach(line.mountpoint, lazy=True)
    yield


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    """Return directories for one test; what is mounted in them is unmounted afterwards."""
    names = [field.name for field in dataclasses.fields(Folders)]
    for name in names:
        (tmp_path / name).mkdir(mode=0o700)
    yield Folders(*(str(tmp_path / name) for name in names))
    sweep(str(tmp_path))


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    """Return an empty directory."""
    path = tmp_path / "mnt"
    path.mkdir()
    return path


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
