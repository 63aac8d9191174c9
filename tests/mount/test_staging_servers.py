"""Staging directories whose servers and mounts come, die, and go."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from artifactfs.errors import BusyError, MountError
from artifactfs.mount import api, keeper, staging_mounts, unmounting
from artifactfs.mount.mountinfo import find_mount, read_mounts
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.orders import REPOSITORY, Order
from artifactfs.mount.registry import iter_live
from artifactfs.mount.shown import Shown, find_shown
from artifactfs.mount.spare import Spare
from artifactfs.mount.syscalls import unmount_privileged
from artifactfs.repository import changes
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging
from artifactfs.staging.layout import UNION, deciding
from tests.mount.conftest import BIG_SIZE, Folders, errno_of, wait_until
from tests.mount.staging_support import (
    area,
    commit,
    driver,
    needs_binding,
    server_of,
    staged,
    staging,
    transport,
)

__all__ = ["area", "commit", "driver", "staged", "staging", "transport"]

pytestmark = pytest.mark.mounted


def test_sigterm_of_the_server_leaves_what_was_written(folders: Folders, staged: Path, driver: str) -> None:
    before = server_of(folders)
    descriptor = os.open(staged / "written", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"written\n")
    os.kill(before.pid, signal.SIGTERM)
    wait_until(lambda: any(info.kind == "staging" and info.pid != before.pid for info in iter_live(folders)))
    errno_of(lambda: os.close(descriptor))  # ENOTCONN, of the union
    wait_until(lambda: errno_of((staged / "written").read_text) is None)
    assert (staged / "written").read_text() == "written\n"


@needs_binding
def test_a_server_that_ends_meanwhile_is_not_replaced_by_an_empty_directory(
    folders: Folders, mounted: MountInfo, repository: Repository, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve_and_end(*args: Any, **options: Any) -> None:
        start(*args, **options)
        own = args[2]
        unmount_privileged(own, lazy=True)

    start = staging_mounts._serve
    monkeypatch.setattr(staging_mounts, "_serve", serve_and_end)
    with pytest.raises(MountError, match="has just ended"):
        api.attach_staging(folders, repository, staging=staging)
    monkeypatch.undo()
    shown = f"{mounted.mountpoint}/animals/@staging"
    # The keeper may show it by now; but then it shows what is served.
    assert all(line.is_ours for line in read_mounts() if line.mountpoint == shown)
    wait_until(lambda: errno_of(lambda: os.listdir(shown)) is None and "README" in os.listdir(shown))


def test_nothing_is_left_of_what_is_shown_while_the_mount_is_lost(
    folders: Folders, mounted: MountInfo, repository: Repository, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a keeper's helper that is still at work when the mount is swept away."""
    start = staging_mounts.start_server

    def start_and_lose(places: Folders, order: Order, *, spare: Spare | None) -> MountInfo:
        info = start(places, order, spare=spare)
        os.kill(mounted.pid, signal.SIGKILL)
        wait_until(lambda: all(live.kind != "repository" for live in iter_live(folders)))
        return info

    monkeypatch.setattr(staging_mounts, "start_server", start_and_lose)
    assert api.attach_staging(folders, repository, staging=staging) is None
    wait_until(lambda: not list(iter_live(folders)))
    assert [line for line in read_mounts() if line.mountpoint.startswith(f"{folders.runtime}/s/")] == []


@needs_binding
def test_what_is_unmounted_is_not_brought_back_in_between(
    folders: Folders,
    mounted: MountInfo,
    repository: Repository,
    staging: Staging,
    staged: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    helper = threading.Thread(target=lambda: api.attach_staging(folders, repository, staging=staging))
    take_away = unmounting.detach

    def detach_and_be_followed(path: str, *, lazy: bool) -> None:
        take_away(path, lazy=lazy)
        if path == str(staged):  # a keeper looks now, and would show it again
            helper.start()
            helper.join(1.0)

    monkeypatch.setattr(unmounting, "detach", detach_and_be_followed)
    api.unmount(folders, mounted.mountpoint)
    helper.join(20)
    assert not helper.is_alive()
    wait_until(lambda: not list(iter_live(folders)))
    assert find_mount(str(staged)) is None


@needs_binding
def test_a_lost_bind_comes_back(staged: Path) -> None:
    wait_until(lambda: errno_of(lambda: unmount_privileged(str(staged))) is None)  # EBUSY while the keeper looks at it
    wait_until(lambda: find_mount(str(staged)) is not None)
    assert (staged / "README").read_text() == "hello\n"


def test_a_killed_server_comes_back_with_what_was_written(
    folders: Folders, staged: Path, staging: Staging, repository: Repository
) -> None:
    (staged / "kept").write_text("kept\n")
    before = server_of(folders).pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: before not in [info.pid for info in iter_live(folders)])  # until then it holds its lock
    path = api.attach_staging(folders, repository, staging=staging)
    assert path == str(staged)
    assert server_of(folders).pid != before
    assert (staged / "kept").read_text() == "kept\n"


def test_a_killed_server_is_brought_back_by_the_mount(folders: Folders, staged: Path) -> None:
    (staged / "kept").write_text("kept\n")
    before = server_of(folders).pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: any(info.kind == "staging" and info.pid != before for info in api.iter_mounts(folders)))
    wait_until(lambda: errno_of((staged / "kept").read_text) is None)
    assert (staged / "kept").read_text() == "kept\n"


def test_a_killed_mount_shows_it_again(folders: Folders, mounted: MountInfo, staged: Path) -> None:
    (staged / "kept").write_text("kept\n")
    os.kill(mounted.pid, signal.SIGKILL)
    wait_until(lambda: not [info for info in api.iter_mounts(folders) if info.kind == "repository"])
    api.mount(folders, mounted.mountpoint, options=MountOptions())
    assert (staged / "kept").read_text() == "kept\n"


def test_it_ends_with_the_last_mount(folders: Folders, mounted: MountInfo, staged: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    api.mount(folders, str(other), options=MountOptions())
    (staged / "kept").write_text("kept\n")
    assert (other / "animals" / "@staging" / "kept").read_text() == "kept\n"
    api.unmount(folders, mounted.mountpoint)
    assert (other / "animals" / "@staging" / "kept").read_text() == "kept\n"
    api.unmount(folders, str(other))
    assert list(api.iter_mounts(folders)) == []
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(tmp_path) in line]


def test_sigterm_of_the_mount_ends_it_too(folders: Folders, mounted: MountInfo, staged: Path) -> None:
    server = server_of(folders).pid
    os.kill(mounted.pid, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(f"/proc/{server}"))
    wait_until(lambda: not list(api.iter_mounts(folders)))


def test_a_discard_that_was_killed_half_way_leaves_it_to_the_next_mount(
    folders: Folders, mounted: MountInfo, staged: Path, repository: Repository, staging: Staging
) -> None:
    (staged / "kept").write_text("kept\n")
    api.detach_staging(folders, repository, staging=staging)  # as far as it came
    api.unmount(folders, mounted.mountpoint)
    with deciding(staging.layout):  # of one that goes on it shows nothing
        api.mount(folders, mounted.mountpoint, options=MountOptions())
        assert find_mount(str(staged)) is None
    api.unmount(folders, mounted.mountpoint)
    api.mount(folders, mounted.mountpoint, options=MountOptions())
    assert (staged / "kept").read_text() == "kept\n"


def test_umount_stops_at_who_stands_in_it(folders: Folders, mounted: MountInfo, staged: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=staged) as process:
        with pytest.raises(BusyError, match=f"process {process.pid}"):
            api.unmount(folders, mounted.mountpoint)
        assert (staged / "README").read_text() == "hello\n"
        process.communicate()


def test_what_it_shows_is_kept_though_its_pin_was_broken(
    folders: Folders, repository: Repository, staged: Path, staging: Staging, tmp_path: Path
) -> None:
    """As somebody breaks pins who does not see that the staging directory is in use."""
    others = replace(folders, runtime=str(tmp_path / "others"))

    def prune() -> int:
        def shown() -> Shown:
            return find_shown(others, repository.id, repository.location)

        repository.blobs.forget()
        return delete_garbage(repository, find_garbage(repository, shown), shown).count

    repository.append("animals", lambda state: changes.unpin(state, pin=staging.info.pin))
    repository.append("animals", lambda state: changes.delete_version(state, number=0, force=True))
    assert prune() == 0
    assert len((staged / "big").read_bytes()) == BIG_SIZE
    api.unmount(folders, str(staged.parents[1]))
    assert prune() > 0


@pytest.mark.parametrize(
    "error", [subprocess.TimeoutExpired("keeper", 120), OSError(errno.EAGAIN, "none is left")], ids=["slow", "none"]
)
@pytest.mark.parametrize("driver", [UNION])
def test_what_could_not_be_brought_back_is_tried_again(
    folders: Folders, repository: Repository, staging: Staging, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As on a busy machine, or with hundreds of staging directories, which take longer than a helper is given."""
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        asked.append(command)
        raise error

    monkeypatch.setattr(keeper.subprocess, "run", run)
    places = (folders.repository, folders.state, folders.cache, folders.runtime)
    watching = keeper.Keeper(Order(REPOSITORY, "/", *places), repository_id=repository.id, location=repository.location)
    assert watching._look()
    assert watching._look()
    assert len(asked) == 2
