"""Staging directories under load, with both drivers: many writers during commits, very many files, a full disk."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.errors import BusyError, StorageFullError
from artifactfs.mount import api
from artifactfs.mount.freezing import MountFreezer
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.mount.syscalls import may_mount
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.staging import Staging, StagingArea
from tests.mount.conftest import Folders, sweep, wait_until

pytestmark = [pytest.mark.mounted]
WRITERS = 16
FILES = 25
WRITER = """
import errno, hashlib, os, sys, time
top, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
deadline = time.monotonic() + 90
for index in range(count):
    data = os.urandom(20000 + 137 * index)
    body = hashlib.sha256(data).hexdigest().encode() + data
    name = f"{top}/w{number}/{index}"
    while True:
        try:
            os.makedirs(f"{top}/w{number}", exist_ok=True)
            with open(name + ".part", "wb", buffering=0) as file:
                half = len(body) // 2
                file.write(body[:half])
                file.write(body[half:])
            os.rename(name + ".part", name)
            break
        except OSError as error:
            # An overlay that is being committed is read-only; nothing else is expected.
            if error.errno != errno.EROFS or time.monotonic() > deadline:
                raise
"""


@pytest.fixture
def transport() -> str:
    return "auto"


@pytest.fixture(params=["overlay", "union"])
def driver(request: pytest.FixtureRequest) -> str:
    if request.param == "overlay" and not may_overlay():
        pytest.skip("needs CAP_SYS_ADMIN in the initial user namespace")
    return str(request.param)


def stage(folders: Folders, repository: Repository, driver: str) -> tuple[Staging, Path]:
    version = repository.get_collection("animals").versions[0]
    staging = StagingArea(repository).create("animals", version=version, driver=driver)
    path = api.attach_staging(folders, repository, staging=staging)
    assert path is not None
    return staging, Path(path)


def is_whole(body: bytes) -> bool:
    return hashlib.sha256(body[64:]).hexdigest().encode() == body[:64]


def test_commits_while_sixteen_write_are_of_one_moment_each(
    folders: Folders, mounted: MountInfo, repository: Repository, driver: str
) -> None:
    staging, top = stage(folders, repository, driver)
    area, freezer = StagingArea(repository), MountFreezer(folders, repository.id)
    command = [sys.executable, "-c", WRITER, str(top)]
    writers = [subprocess.Popen([*command, str(number), str(FILES)]) for number in range(WRITERS)]
    made = []
    try:
        while any(writer.poll() is None for writer in writers):
            try:
                made.append(area.commit(staging, freezer=freezer).result.version.number)
            except BusyError as error:
                assert "open for writing" in error.message  # noqa: PT017 - what else it says is not expected
    finally:
        codes = [writer.wait() for writer in writers]
    assert codes == [0] * WRITERS
    wait_until(lambda: _commits(area, staging, freezer, made))
    for number in made[-3:]:
        shown = Path(mounted.mountpoint, "animals", f"v{number}")
        for path in shown.glob("w*/*"):
            # A file that is not whole is one that was still to get its name.
            assert path.suffix == ".part" or is_whole(path.read_bytes())
    last = Path(mounted.mountpoint, "animals", f"v{made[-1]}")
    assert sorted(path.name for path in last.glob("w*")) == sorted(f"w{number}" for number in range(WRITERS))
    assert all(sorted(os.listdir(folder)) == sorted(map(str, range(FILES))) for folder in last.glob("w*"))


def _commits(area: StagingArea, staging: Staging, freezer: MountFreezer, made: list[int]) -> bool:
    try:
        made.append(area.commit(staging, freezer=freezer).result.version.number)
    except BusyError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_files_come_and_go(
    folders: Folders, mounted: MountInfo, repository: Repository, driver: str
) -> None:
    staging, top = stage(folders, repository, driver)
    area, freezer = StagingArea(repository), MountFreezer(folders, repository.id)
    for number in range(100_000):
        if number % 1000 == 0:
            os.mkdir(top / f"d{number // 1000}")
        os.close(os.open(top / f"d{number // 1000}" / f"f{number}", os.O_CREAT | os.O_WRONLY))
    done = area.commit(staging, freezer=freezer).result.version
    base = repository.get_collection("animals").versions[0]
    assert done.root.count == base.root.count + 100_000
    for number in range(100):
        for entry in os.listdir(top / f"d{number}"):
            os.unlink(top / f"d{number}" / entry)
        os.rmdir(top / f"d{number}")
    done = area.commit(staging, freezer=freezer).result.version
    assert done.root.content == base.root.content


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if not may_mount():
        pytest.skip("needs CAP_SYS_ADMIN")
    image, top = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    top.mkdir()
    done = subprocess.run(["mount", "-o", "loop", str(image), str(top)], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no loop device here: {done.stderr}")
    yield top
    sweep(str(tmp_path))
    subprocess.run(["umount", "-l", str(top)], check=True)


def fill(path: Path) -> tuple[int, int | None]:
    """Write until it is refused; return what was written and the errno."""
    written = 0
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                written += file.write(b"x" * 65536)
    except OSError as error:
        return written, error.errno


def test_a_full_disk_loses_nothing(
    folders: Folders, repository: Repository, small_disk: Path, mountpoint: Path, driver: str
) -> None:
    places = Folders(folders.repository, str(small_disk), folders.cache, folders.runtime)
    with open_repository(places.repository, state=places.state, author="tester") as here:
        api.mount(places, str(mountpoint), options=MountOptions())
        staging, top = stage(places, here, driver)
        (top / "before").write_bytes(b"b" * 1000)
        written, number = fill(top / "filling")
        assert (number, written > 1 << 20) == (errno.ENOSPC, True)
        # What needs room says so, and leaves what there was.
        with pytest.raises(OSError, match="No space"):
            os.chmod(top / "big", 0o600)
        big = (top / "big").read_bytes()
        assert big == Path(str(mountpoint), "animals", "v0", "big").read_bytes()
        area, freezer = StagingArea(here), MountFreezer(places, here.id)
        try:
            area.commit(staging, freezer=freezer)
        except StorageFullError:
            assert list(here.load_state("animals").versions) == [0]
        (top / "filling").unlink()
        os.chmod(top / "big", 0o600)
        number = area.commit(area.get("animals"), freezer=freezer).result.version.number
        shown = Path(str(mountpoint), "animals", f"v{number}")
        assert (shown / "before").read_bytes() == b"b" * 1000
        assert (shown / "big").read_bytes() == big
        api.unmount(places, str(mountpoint))


def test_a_full_disk_is_emptied_by_discarding(
    folders: Folders, repository: Repository, small_disk: Path, mountpoint: Path, driver: str
) -> None:
    places = Folders(folders.repository, str(small_disk), folders.cache, folders.runtime)
    with open_repository(places.repository, state=places.state, author="tester") as here:
        api.mount(places, str(mountpoint), options=MountOptions())
        staging, top = stage(places, here, driver)
        for name in ("large", "small"):  # what one leaves of a block's worth the other takes
            fill(top / name)
        api.end_staging(places, here, staging, StagingArea(here))
        assert not top.exists()
        assert here.load_state("animals").pins == {}
        assert os.statvfs(small_disk).f_bfree > (32 << 20) // os.statvfs(small_disk).f_frsize
        api.unmount(places, str(mountpoint))
