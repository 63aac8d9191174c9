"""Whose mount it is: servers that begin at once at one place, and what takes the place of one that ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from artifactfs.errors import BusyError
from artifactfs.mount import api, launch
from artifactfs.mount.daemon import build
from artifactfs.mount.kernel import daemon, own_mount
from artifactfs.mount.kernel.daemon import KernelDaemon
from artifactfs.mount.kernel.mounting import MountRequest
from artifactfs.mount.kernel.own_mount import OwnMount
from artifactfs.mount.mountinfo import find_mount, is_mounted, parse_mount, read_mounts
from artifactfs.mount.orders import REPOSITORY, Order
from artifactfs.mount.registry import find_live, held_slot, is_served, prepare_folders, read_record, slot_for
from artifactfs.mount.syscalls import may_mount, mount_filesystem
from artifactfs.repository.repository import Repository

from .support import Folders, Mount, put, slurp
from .waiting import wait_until

pytestmark = pytest.mark.mounted
needs_root = pytest.mark.skipif(not may_mount() or os.getuid() != 0, reason="mounting file systems needs root")


@pytest.fixture
def order(folders: Folders, repository: Repository, tree: Path, tmp_path: Path) -> Iterator[Order]:
    put(repository, "animals", tree)
    place = tmp_path / "place"
    place.mkdir()
    yield Order(
        kind=REPOSITORY,
        mountpoint=str(place),
        repository=folders.repository,
        state=folders.state,
        cache=folders.cache,
        runtime=folders.runtime,
        transport="auto",
    )
    while subprocess.run(["umount", "-l", place], capture_output=True, check=False).returncode == 0:
        pass


def count_mounts(place: str) -> int:
    return sum(line.mountpoint == place for line in read_mounts())


def test_a_server_mounts_nothing_where_another_one_begins(folders: Folders, order: Order) -> None:
    prepare_folders(folders)
    slot = slot_for(folders, order.mountpoint)
    with held_slot(slot, mountpoint=order.mountpoint), pytest.raises(BusyError, match="another process is serving"):
        launch.start_server(folders, order)
    assert find_mount(order.mountpoint) is None


def test_a_server_that_comes_late_covers_nothing(mount: Mount, folders: Folders, order: Order, tree: Path) -> None:
    """As of another user, whose slot is another one."""
    info = mount()
    stranger = Folders(folders.repository, folders.state, folders.cache, f"{folders.runtime}-of-another")
    late = Order(
        kind=REPOSITORY,
        mountpoint=info.mountpoint,
        repository=stranger.repository,
        state=stranger.state,
        cache=stranger.cache,
        runtime=stranger.runtime,
        transport="auto",
    )
    with pytest.raises(BusyError, match="meanwhile"):
        launch.start_server(stranger, late)
    assert count_mounts(info.mountpoint) == 1
    assert slurp(Path(info.mountpoint) / "animals/latest/cat.txt") == (tree / "cat.txt").read_bytes()


def test_what_cannot_begin_leaves_no_mount(order: Order, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_folders(folders)

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "broken")

    monkeypatch.setattr(daemon, "begin", fail)
    with pytest.raises(OSError, match="broken"):
        KernelDaemon(order, build=build)._serve()
    assert find_mount(order.mountpoint) is None


@needs_root
def test_only_the_own_mount_is_taken_away(order: Order) -> None:
    own = OwnMount(order.mountpoint)
    os.close(own.open(MountRequest(order.mountpoint)))  # dead at once
    subprocess.run(["umount", "-l", order.mountpoint], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", order.mountpoint], check=True)
    own.detach()
    assert (line := find_mount(order.mountpoint)) is not None
    assert line.fstype == "tmpfs"
    subprocess.run(["umount", order.mountpoint], check=True)
    os.close(own.open(MountRequest(order.mountpoint)))
    own.detach()
    assert find_mount(order.mountpoint) is None
    os.close(own.open(MountRequest(order.mountpoint)))
    mount_filesystem("none", order.mountpoint, "tmpfs", 0, "")  # mount(8) would look at what is dead
    own.detach()
    assert is_mounted(order.mountpoint, own._device), "covered, which is not gone"
    assert count_mounts(order.mountpoint) == 2
    subprocess.run(["umount", order.mountpoint], check=True)
    own.detach()
    assert not is_mounted(order.mountpoint, own._device)


def test_unmounted_and_mounted_again_at_once(folders: Folders, order: Order, tree: Path) -> None:
    for _ in range(3):
        info = api.mount(folders, order.mountpoint, options=api.MountOptions(transport="kernel"))
        assert slurp(Path(info.mountpoint) / "animals/latest/cat.txt") == (tree / "cat.txt").read_bytes()
        api.unmount(folders, info.mountpoint)
    assert count_mounts(order.mountpoint) == 0


def test_the_place_is_left_when_the_mount_has_been_gone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, is_there = 0.0, True
    line = parse_mount(b"36 35 0:98 / /mnt rw - fuse.artifactfs artifactfs ro")
    monkeypatch.setattr(own_mount, "find_mount", lambda _: line)
    monkeypatch.setattr(own_mount, "is_mounted", lambda *place: place == ("/mnt", "0:98") and is_there)
    own = OwnMount("/mnt", now=lambda: seconds)

    def leaves(after: float) -> bool:
        nonlocal seconds
        seconds += after
        return own.has_to_leave()

    assert not leaves(100), "nothing was mounted"
    own.find()
    assert not leaves(100)
    is_there = False
    assert not leaves(2)
    is_there = True
    assert not leaves(100)
    is_there = False
    assert not leaves(2)
    assert leaves(2)
    assert own.is_left
    assert not leaves(100), "once"


def test_where_somebody_is_still_inside_another_can_be_mounted(folders: Folders, order: Order, tree: Path) -> None:
    place = Path(order.mountpoint)
    options = api.MountOptions(transport="kernel")
    first = api.mount(folders, order.mountpoint, options=options)
    inside = os.open(place / "animals/v0", os.O_RDONLY)
    try:
        api.unmount(folders, order.mountpoint, lazy=True)
        slot = slot_for(folders, order.mountpoint)
        wait_until(lambda: not is_served(slot), what="the place to be left")
        second = api.mount(folders, order.mountpoint, options=options)
        assert second.pid != first.pid
        for name in ("cat.txt", "images/large.bin"):  # none was read before
            descriptor = os.open(name, os.O_RDONLY, dir_fd=inside)
            with open(descriptor, "rb") as file:
                assert file.read() == (tree / name).read_bytes()
    finally:
        os.close(inside)
    wait_until(lambda: not Path(f"/proc/{first.pid}").exists(), what="the first server to end")
    assert find_live(folders, order.mountpoint) == second
    assert slurp(place / "animals/latest/cat.txt") == (tree / "cat.txt").read_bytes()
    api.unmount(folders, order.mountpoint)
    assert count_mounts(order.mountpoint) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_server_in_a_terminal_that_goes_away_leaves_no_mount(order: Order, number: signal.Signals) -> None:
    # The tests themselves may have been started by nohup(1).
    command = ["env", "--default-signal=HUP", *launch.command_for(replace(order, foreground=True))]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as server:
        wait_until(lambda: read_record(slot_for(order, order.mountpoint).record), what="the mount")
        os.killpg(server.pid, number)  # as a terminal does, to all of them
        assert server.wait(20) == 0
    assert find_mount(order.mountpoint) is None


def test_nohup_keeps_a_server_up(order: Order) -> None:
    command = ["nohup", *launch.command_for(replace(order, foreground=True))]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as server:
        wait_until(lambda: read_record(slot_for(order, order.mountpoint).record), what="the mount")
        os.killpg(server.pid, signal.SIGHUP)
        assert os.listdir(order.mountpoint) == ["animals"]
        server.terminate()
        assert server.wait(20) == 0
