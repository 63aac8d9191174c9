"""Quotas kept by the file system: ext4 and XFS on loop devices, with real mounts of staging directories on top."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.mount import api
from artifactfs.mount.freezing import MountFreezer
from artifactfs.mount.options import MountOptions
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.staging import StagingArea
from artifactfs.repository.staging_quota import set_quota
from artifactfs.staging import projectquota
from artifactfs.staging.quota import find_enforcer, find_used, measure
from tests.mount.conftest import Folders, put, sweep

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(not may_overlay(), reason="needs CAP_SYS_ADMIN in the initial user namespace"),
]
MIB = 1 << 20
QUOTA = 8 * MIB
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-O", "project,quota", "-E", "quotatype=prjquota"],
    "xfs": ["mkfs.xfs", "-q"],
}


def mount_disk(command: list[str], tmp_path: Path, options: str) -> Path:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    image, top = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    subprocess.run([*command, str(image)], check=True, capture_output=True)
    top.mkdir()
    command = ["mount", "-o", f"loop{options}", str(image), str(top)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this kernel has no project quotas (CONFIG_QFMT_V2, CONFIG_XFS_QUOTA): {done.stderr}")
    return top


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    top = mount_disk(MAKE[request.param], tmp_path, ",prjquota")
    yield top
    sweep(str(tmp_path))
    subprocess.run(["umount", "-l", str(top)], check=True)


def opened(folders: Folders, state: Path, source: Path) -> tuple[Folders, Repository]:
    places = Folders(folders.repository, str(state), folders.cache, folders.runtime)
    repository = open_repository(places.repository, state=places.state, author="tester", create=True)
    put(repository, source)
    return places, repository


def fill(path: Path, size: int) -> tuple[int, int | None]:
    """Write until it is refused; return what was written and the errno."""
    written = 0
    try:
        with path.open("wb", buffering=0) as file:
            while written < size:
                written += file.write(b"x" * 65536)
            os.fsync(file.fileno())
    except OSError as error:
        return written, error.errno
    return written, None


@pytest.mark.parametrize("driver", ["overlay", "union"])
def test_the_file_system_keeps_it(folders: Folders, source: Path, disk: Path, mountpoint: Path, driver: str) -> None:
    shutil.rmtree(source)
    source.mkdir()
    (source / "old").write_bytes(b"o" * MIB)
    places, repository = opened(folders, disk / "state", source)
    with repository:
        api.mount(places, str(mountpoint), options=MountOptions())
        area = StagingArea(repository)
        version = repository.get_collection("animals").versions[0]
        staging = area.create("animals", version=version, driver=driver, quota=QUOTA)
        assert staging.info.project is not None
        top = Path(api.attach_staging(places, repository, staging=staging) or "")
        assert find_enforcer(staging.layout, staging.info) == "project"
        written, number = fill(top / "new", 4 * QUOTA)
        assert number in {errno.EDQUOT, errno.ENOSPC}
        assert QUOTA - MIB < written <= QUOTA
        # A copy of a file of the version is made beside the upper directory, and counts there already.
        with pytest.raises(OSError, match=r"No space|quota"):
            os.chmod(top / "old", 0o600)
        (top / "new").unlink()
        assert fill(top / "second", 2 * MIB)[1] is None
        os.chmod(top / "old", 0o600)
        assert measure(staging.upper) >= 3 * MIB
        done = area.commit(staging, freezer=MountFreezer(places, repository.id))
        assert done.result.version.root.size == 3 * MIB
        # Another staging directory has a project of its own, and none is left when they have ended.
        other = area.create("animals", name="other", version=version, quota=QUOTA)
        assert other.info.project not in {None, staging.info.project}
        area.remove(other)
        api.end_staging(places, repository, done.staging, area)
        api.unmount(places, str(mountpoint))


@pytest.mark.parametrize("driver", ["overlay", "union"])
def test_a_quota_that_comes_later_is_kept_by_the_file_system(
    folders: Folders, source: Path, disk: Path, mountpoint: Path, driver: str
) -> None:
    places, repository = opened(folders, disk / "state", source)
    with repository:
        api.mount(places, str(mountpoint), options=MountOptions())
        area = StagingArea(repository)
        version = repository.get_collection("animals").versions[0]
        staging = area.create("animals", version=version, driver=driver)
        top = Path(api.attach_staging(places, repository, staging=staging) or "")
        assert fill(top / "new", 3 * MIB)[1] is None
        (top / "deep").mkdir()
        staging = set_quota(staging, QUOTA)
        api.tell_quota(places, repository.id, staging=staging, quota=QUOTA)
        assert find_enforcer(staging.layout, staging.info) == "project"
        assert 3 * MIB < find_used(staging.layout, staging.info, "project") < 4 * MIB
        written, number = fill(top / "deep" / "more", 4 * QUOTA)
        assert number in {errno.EDQUOT, errno.ENOSPC}
        assert QUOTA - 5 * MIB < written <= QUOTA - 3 * MIB
        os.rename(top / "new", top / "deep" / "new")
        project = staging.info.project
        staging = set_quota(staging, 2 * QUOTA)
        api.tell_quota(places, repository.id, staging=staging, quota=2 * QUOTA)
        assert staging.info.project == project
        assert QUOTA < fill(top / "second", 4 * QUOTA)[0] + written + 3 * MIB <= 2 * QUOTA
        staging = set_quota(staging, None)
        api.tell_quota(places, repository.id, staging=staging, quota=None)
        assert fill(top / "third", 2 * QUOTA)[1] is None
        api.end_staging(places, repository, staging, area)
        api.unmount(places, str(mountpoint))


def test_all_that_is_there_gets_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of projects are kept by XFS also where the kernel has no quotas."""
    disk = mount_disk(["mkfs.xfs", "-q"], tmp_path, "")
    try:
        top = disk / "top"
        (top / "deep" / "er").mkdir(parents=True)
        for path in (top / "file", top / "deep" / "er" / "file"):
            path.touch()
        os.link(top / "file", top / "deep" / "linked")
        os.symlink("file", top / "link")
        os.mkfifo(top / "fifo")
        limits: list[object] = []
        for name, value in (
            ("_is_enforced", lambda device: True),
            ("_find_free", lambda device: 4711),
            ("_set_limit", lambda *given: limits.append(given)),
        ):
            monkeypatch.setattr(projectquota, name, value)
        assert projectquota.begin_project(bytes(top), QUOTA) == 4711
        (top / "deep" / "er" / "later").touch()
        found = [top, *(path for path in top.rglob("*") if path.name not in {"link", "fifo"})]
        assert {projectquota._get_project(bytes(path)) for path in found} == {4711}
        assert len(found) == 7
        os.rename(top / "file", top / "deep" / "er" / "moved")
        assert len(limits) == 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_it_is_not_enforced_without_the_mount_option(folders: Folders, source: Path, tmp_path: Path) -> None:
    disk = mount_disk(["mkfs.ext4", "-q"], tmp_path, "")
    try:
        _, repository = opened(folders, disk / "state", source)
        with repository:
            staging = StagingArea(repository).create("animals", version=None, quota=QUOTA)
            assert staging.info.project is None
            assert find_enforcer(staging.layout, staging.info) == "union"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
