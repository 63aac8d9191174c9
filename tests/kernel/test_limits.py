"""What is scarce: room for the index, memory of workers, rights for passthrough. Nothing wrong is served."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from artifactfs.mount.kernel.asking import find_figures
from artifactfs.mount.kernel.mounting import MountRequest, open_mount
from artifactfs.mount.options import MountInfo
from artifactfs.mount.syscalls import may_mount
from artifactfs.repository.repository import Repository, open_repository
from tests.memory_group import memory_group

from .support import Folders, Mount, put, slurp, workers
from .waiting import wait_until

pytestmark = pytest.mark.mounted
needs_root = pytest.mark.skipif(not may_mount() or os.getuid() != 0, reason="mounting file systems needs root")
MANY = 30_000


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A directory of many files, whose listing is some megabytes; all of them are one blob."""
    root = tmp_path / "root" / "wide"  # not at the top, which is listed as soon as it is mounted
    root.mkdir(parents=True)
    first = root / "0"
    first.write_bytes(b"content\n")
    for number in range(1, MANY):
        os.link(first, root / f"{number}-{'n' * 60}")
    return root


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    image, place = folder / "small.img", folder / "small"
    with image.open("wb") as file:
        file.truncate(size)
    place.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take all the room that a file system has left."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 65536):
            pass
    return filler


@needs_root
@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_full_disk_below_the_index(
    tmp_path: Path,
    folders: Folders,
    wide: Path,
    tree: Path,
    transport: str,
) -> None:
    from artifactfs.mount import api
    from artifactfs.mount.options import MountOptions

    place = tmp_path / "mnt"
    place.mkdir()
    with small_disk(tmp_path, 48 << 20) as disk:
        scarce = Folders(folders.repository, str(disk / "state"), folders.cache, folders.runtime)
        with open_repository(scarce.repository, state=scarce.state, author="tester") as repository:
            put(repository, "wide", wide.parent)
            put(repository, "small", tree)
        api.mount(scarce, str(place), options=MountOptions(transport=transport))
        try:
            assert len(os.listdir(place / "small" / "v0")) == len(os.listdir(tree))
            filler = fill(disk)
            # What was prepared is served; what cannot be prepared is an error that says why, or is served without.
            assert slurp(place / "small" / "v0" / "cat.txt") == (tree / "cat.txt").read_bytes()
            with suppress(OSError):
                assert len(os.listdir(place / "wide" / "v0" / "wide")) == MANY
            filler.unlink()
            assert len(os.listdir(place / "wide" / "v0" / "wide")) == MANY
            assert slurp(place / "wide" / "v0" / "wide" / "0") == b"content\n"
        finally:
            api.unmount(scarce, str(place), lazy=True)


def test_an_index_that_is_replaced_underneath(
    mount: Mount,
    folders: Folders,
    repository: Repository,
    tree: Path,
) -> None:
    put(repository, "animals", tree)
    info = mount(artifact="animals:latest")
    path = Path(info.mountpoint)
    assert slurp(path / "cat.txt") == (tree / "cat.txt").read_bytes()
    for data in Path(folders.state).rglob("data.mdb"):
        data.rename(data.with_suffix(".away"))
        data.write_bytes(b"this is no index" * 1000)
    for pid in workers(info):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # New workers find something else there: an error is right, other bytes never are.
    for name in ("cat.txt", "images/large.bin"):
        with suppress(OSError):
            assert slurp(path / name) == (tree / name).read_bytes()


@needs_root
def test_a_worker_killed_for_its_memory_is_replaced_and_its_request_answered(
    mount: Mount,
    repository: Repository,
    wide: Path,
) -> None:
    put(repository, "wide", wide.parent)
    info = mount(artifact="wide:latest", workers=1)
    [pid] = workers(info)
    with memory_group(3 << 20) as group:
        (group / "cgroup.procs").write_text(str(pid))
        assert len(os.listdir(f"{info.mountpoint}/wide")) == MANY
        wait_until(lambda: workers(info) not in ([], [pid]), what="another worker")
    figures = find_figures(info)
    assert figures is not None
    assert figures["restarts"] >= 1


def test_a_worker_without_memory_answers_with_an_error_and_goes_on(
    mount: Mount,
    repository: Repository,
    wide: Path,
) -> None:
    put(repository, "wide", wide.parent)
    info = mount(artifact="wide:latest", workers=1)
    [pid] = workers(info)
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.prlimit(pid, resource.RLIMIT_AS, (used + (1 << 20), resource.RLIM_INFINITY))
    with suppress(OSError):
        assert len(os.listdir(f"{info.mountpoint}/wide")) == MANY
    for each in workers(info):
        resource.prlimit(each, resource.RLIMIT_AS, before)
    assert len(os.listdir(f"{info.mountpoint}/wide")) == MANY
    assert slurp(Path(info.mountpoint) / "wide" / "0") == b"content\n"


def figures_of(info: MountInfo) -> dict[str, object]:
    figures = find_figures(info)
    assert figures is not None
    return figures


@needs_root
@pytest.mark.parametrize(
    ("size", "asked", "expected"), [(24 << 20, None, True), (24 << 20, False, False), (1000, None, False)]
)
def test_passthrough_is_chosen_by_what_is_mounted(
    mount: Mount,
    repository: Repository,
    tmp_path: Path,
    size: int,
    *,
    asked: bool | None,
    expected: bool,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(os.urandom(size))
    put(repository, "large", root)
    info = mount(artifact="large:latest", passthrough=asked)
    if expected and "passthrough is refused here" in Path(info.log).read_text():
        pytest.skip("passthrough is refused on this machine")
    assert figures_of(info)["passthrough"] is expected
    assert slurp(Path(info.mountpoint) / "file") == (root / "file").read_bytes()


@needs_root
def test_passthrough_is_refused_for_a_repository_on_overlayfs(tmp_path: Path, tree: Path) -> None:
    from artifactfs.mount import api
    from artifactfs.mount.options import MountOptions

    # Two overlays, one over the other, are as deep as the kernel stacks: the mount itself would be one more.
    top = tmp_path / "plain"
    top.mkdir()
    stacked: list[Path] = []
    for number in range(2):
        upper, work, merged = (tmp_path / f"{name}{number}" for name in ("upper", "work", "merged"))
        for folder in (upper, work, merged):
            folder.mkdir()
        options = f"lowerdir={top},upperdir={upper},workdir={work}"
        done = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=False)
        if done.returncode != 0:
            break
        stacked.append(merged)
        top = merged
    try:
        if not stacked:
            pytest.skip("overlayfs cannot be mounted here")
        places = Folders(*(str(tmp_path / name) for name in ("unused", "state", "cache", "runtime")))
        places = Folders(str(stacked[-1] / "repository"), places.state, places.cache, places.runtime)
        with open_repository(places.repository, state=places.state, author="tester") as repository:
            put(repository, "animals", tree)
        place = tmp_path / "mnt"
        place.mkdir()
        info = api.mount(places, str(place), options=MountOptions(transport="kernel", passthrough=True))
        try:
            assert figures_of(info)["passthrough"] is False
            assert "passthrough is refused here" in Path(info.log).read_text()
            assert (
                slurp(place / "animals" / "v0" / "images" / "large.bin") == (tree / "images" / "large.bin").read_bytes()
            )
        finally:
            api.unmount(places, str(place), lazy=True)
    finally:
        for merged in reversed(stacked):
            subprocess.run(["umount", "-l", str(merged)], check=True)


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_passthrough_is_refused_without_the_right_and_files_are_read_all_the_same(tmp_path: Path, tree: Path) -> None:
    from .conftest import SERVER

    place = tmp_path / "mnt"
    place.mkdir()
    descriptor = open_mount(MountRequest(str(place)))
    command = [
        *("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", sys.executable, str(SERVER)),
        *(str(tree), str(place), "--fd", str(descriptor), "--passthrough"),
    ]
    with subprocess.Popen(
        command, pass_fds=(descriptor,), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        os.close(descriptor)
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            assert server.stdout.readline() == "ready\n"
            subprocess.run(["diff", "-r", "--no-dereference", tree, place], check=True, timeout=60)
        finally:
            server.terminate()
            server.wait(30)
            subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)
        assert "passthrough is refused here (Operation not permitted)" in server.stderr.read()
