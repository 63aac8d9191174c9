"""Mounts whose index or epoch somebody overwrites, cuts or removes while they are up: they go on, or say what to do."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.mount import api
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import open_repository
from artifactfs.repository.staging import StagingArea

from .conftest import Folders, wait_until

pytestmark = pytest.mark.mounted


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


def overwrite_with_zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def overwrite_all_but_the_start(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(path.stat().st_size - 8192))


def cut(path: Path) -> None:
    os.truncate(path, 0)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 8192 * 4096)


def remove(path: Path) -> None:
    path.unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


ALWAYS = (overwrite, cut, remove)
SLOW = (overwrite_with_zeros, overwrite_all_but_the_start, cut_in_half, remove_folder)
SELDOM = [pytest.param(damage, marks=pytest.mark.slow) for damage in (*ALWAYS[1:], *SLOW)]
DAMAGES = [*ALWAYS, *(pytest.param(damage, marks=pytest.mark.slow) for damage in SLOW)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for folder in "abcdef":
        (root / folder).mkdir(parents=True)
        for number in range(40):
            (root / folder / f"{number}").write_bytes(f"{folder} {number}\n".encode() * 50)
    (root / "large").write_bytes(os.urandom(3 << 20))
    return root


@pytest.fixture
def mounted(folders: Folders, tmp_path: Path, tree: Path) -> Callable[..., MountInfo]:
    with open_repository(folders.repository, state=folders.state, author="tester") as repository:
        put_paths(repository, "animals", [Source(os.fsencode(tree), b"")], options=CommitOptions(aliases=("best",)))

    def start(**options: str) -> MountInfo:
        place = tmp_path / "mnt"
        place.mkdir(exist_ok=True)
        return api.mount(folders, str(place), options=MountOptions(**options))  # type: ignore[arg-type]

    return start


def file_of(folders: Folders, table: str, name: str) -> Path:
    [found] = [path for path in Path(folders.state).rglob(name) if table in path.parts]
    return found


def read_wrong(seen: Path, tree: Path) -> list[str]:
    """Return what is listed or read otherwise than it was put; what cannot be read is not wrong."""
    wrong = []
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree)
        try:
            found = sorted(os.listdir(seen / name)) if path.is_dir() else _read(seen / name)
        except OSError as error:
            if error.errno not in (5, 116, 107):  # EIO, ESTALE, ENOTCONN
                wrong.append(f"{name}: {error}")
            continue
        if found != (sorted(os.listdir(path)) if path.is_dir() else path.read_bytes()):
            wrong.append(str(name))
    return wrong


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    with open(descriptor, "rb", buffering=0) as file:
        return file.readall()


def is_right(seen: Path, tree: Path) -> bool:
    done = subprocess.run(["diff", "-r", f"{tree}/.", f"{seen}/."], capture_output=True, check=False, timeout=60)
    return done.returncode == 0


@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_mount_goes_on_when_its_epoch_is_damaged(
    mounted: Callable[..., MountInfo],
    folders: Folders,
    tree: Path,
    transport: str,
    name: str,
    damage: Callable[[Path], None],
) -> None:
    info = mounted(transport=transport)
    version = Path(info.mountpoint) / "animals" / "v0"
    assert len(os.listdir(version / "a")) == 40
    assert _read(version / "a" / "1") == (tree / "a" / "1").read_bytes()
    damage(file_of(folders, "epochs", name))
    assert read_wrong(version, tree) == []
    assert is_right(version, tree), Path(info.log).read_text()
    assert is_right(Path(info.mountpoint) / "animals" / "best", tree)
    with open_repository(folders.repository, state=folders.state, author="tester") as repository:
        put_paths(repository, "animals", [Source(os.fsencode(tree / "b"), b"")])
    assert is_right(Path(info.mountpoint) / "animals" / "v1", tree / "b")
    api.unmount(folders, info.mountpoint)
    assert is_right(Path(mounted(transport=transport).mountpoint) / "animals" / "v0", tree)


@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
@pytest.mark.parametrize("damage", [overwrite, *SELDOM])
def test_a_mount_goes_on_when_its_index_is_damaged(
    mounted: Callable[..., MountInfo],
    folders: Folders,
    tree: Path,
    transport: str,
    name: str,
    damage: Callable[[Path], None],
) -> None:
    info = mounted(transport=transport)
    version = Path(info.mountpoint) / "animals" / "v0"
    assert _read(version / "a" / "1") == (tree / "a" / "1").read_bytes()
    damage(file_of(folders, "index", name))
    assert read_wrong(version, tree) == []
    assert is_right(version, tree), Path(info.log).read_text()
    api.unmount(folders, info.mountpoint)
    assert is_right(Path(mounted(transport=transport).mountpoint) / "animals" / "v0", tree)


def test_the_mount_of_one_version_goes_on(mounted: Callable[..., MountInfo], folders: Folders, tree: Path) -> None:
    info = mounted(artifact="animals:v0", transport="kernel")
    assert len(os.listdir(f"{info.mountpoint}/a")) == 40
    overwrite(file_of(folders, "epochs", "data.mdb"))
    assert read_wrong(Path(info.mountpoint), tree) == []
    assert is_right(Path(info.mountpoint), tree), Path(info.log).read_text()
    api.unmount(folders, info.mountpoint)


def test_the_log_names_the_file_and_the_epoch_that_is_used(
    mounted: Callable[..., MountInfo], folders: Folders, tree: Path
) -> None:
    info = mounted(transport="kernel")
    path = file_of(folders, "epochs", "lock.mdb")
    cut(path)
    os.listdir(info.mountpoint)
    wait_until(lambda: "the mount goes on in the epoch" in Path(info.log).read_text())
    assert f"{path} was cut short" in Path(info.log).read_text()
    assert hashlib.sha256(_read(Path(info.mountpoint) / "animals/v0/large")).digest() == (
        hashlib.sha256((tree / "large").read_bytes()).digest()
    )


@pytest.mark.skipif(not may_overlay(), reason="needs the overlay driver")
def test_a_staging_directory_is_shown_again(mounted: Callable[..., MountInfo], folders: Folders, tree: Path) -> None:
    info = mounted(transport="kernel")
    with open_repository(folders.repository, state=folders.state, author="tester") as repository:
        version = repository.get_collection("animals").versions[0]
        made = StagingArea(repository).create("animals", version=version)
        shown = api.attach_staging(folders, repository, staging=made, author="tester")
    assert shown is not None
    staging = Path(shown)
    assert _read(staging / "a" / "1") == (tree / "a" / "1").read_bytes()
    (staging / "a" / "new").write_bytes(b"new\n")
    overwrite(file_of(folders, "epochs", "data.mdb"))

    def is_back() -> bool:
        try:
            return _read(staging / "a" / "new") == b"new\n" and read_wrong(staging, tree) == ["a"]
        except OSError:
            return False

    wait_until(is_back, seconds=30)
    api.unmount(folders, info.mountpoint)
