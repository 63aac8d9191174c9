"""Faults as they come: `put` killed at any moment, a disk that is full, two commits at once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.verify import verify_version

COMMAND = [str(Path(sys.executable).with_name("artifactfs")), "--quiet"]
KILLS = 25


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, check=False, env={**os.environ, **environment})


def make_files(folder: Path, *, seed: int, count: int = 200, size: int = 20_000) -> None:
    rng = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}").write_bytes(rng.randbytes(rng.randrange(size)))


def assert_whole(repository: Repository) -> int:
    """Check every byte of every version; return how many versions there are."""
    if "data" not in repository.collection_names():
        return 0
    versions = repository.get_collection("data").versions
    for version in versions.values():
        assert verify_version(repository, version) == []
    assert sorted(versions) == list(range(len(versions)))
    return len(versions)


@pytest.mark.slow
def test_put_killed_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    rng, places = random.Random(7), {"ARTIFACTFS_REPO": str(tmp_path / "repo")}
    made = 0
    for seed in range(KILLS):
        make_files(tmp_path / "files", seed=seed)
        command = [*COMMAND, "put", "data", f"{tmp_path}/files/"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **places})
        try:
            process.wait(timeout=0.15 + rng.random() * 0.6)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
        made += said != b""
        if (tmp_path / "repo").exists():
            with open_repository(str(tmp_path / "repo"), state=str(tmp_path / "state"), author="tester") as repository:
                found = assert_whole(repository)
                assert found >= made, "what was printed is there"
                made = found
    done = run("put", "data", f"{tmp_path}/files/", **places)
    assert (done.returncode, done.stdout.strip()) == (0, b"data:v%d" % made)
    left = [path for path in (tmp_path / "repo" / "tmp").rglob("*") if path.is_file()]
    assert left == [], "the next command removes what killed ones left"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a mounted ext4 of 24 MiB."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("making a small disk needs root and mkfs.ext4")
    image, point = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(24 << 20)
    point.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no loop device here: {mounted.stderr.decode().strip()}")
    yield point
    subprocess.run(["umount", str(point)], check=True)


@pytest.mark.mounted
def test_a_disk_that_fills_during_put_and_commit_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    places = {"ARTIFACTFS_REPO": str(small_disk / "repo"), "ARTIFACTFS_STATE": str(tmp_path / "state")}
    make_files(tmp_path / "few", seed=1, count=50)
    make_files(tmp_path / "many", seed=2, count=3000)
    assert run("put", "data", f"{tmp_path}/few/", **places).returncode == 0
    for source in ("many", "many"):
        full = run("put", "data", f"{tmp_path}/{source}/", **places)
        assert (full.returncode, full.stdout) == (50, b"")
        assert b"No space left" in full.stderr
        assert b"Traceback" not in full.stderr
    assert run("stage", "data", **places).returncode == 0
    [upper] = (tmp_path / "state").glob("*/staging/data/staging/upper-*")
    for path in (tmp_path / "many").iterdir():
        shutil.copy(path, upper / f"new-{path.name}")
    full = run("commit", "data", **places)
    assert (full.returncode, full.stdout) == (50, b"")
    with open_repository(places["ARTIFACTFS_REPO"], state=str(tmp_path / "state"), author="tester") as repository:
        assert assert_whole(repository) == 1
    assert len(list(upper.iterdir())) == 3000, "what was to be committed is still there"
    assert run("status", "data", **places).returncode == 0
    make_files(tmp_path / "few", seed=3, count=5)
    done = run("put", "data", f"{tmp_path}/few/", **places)
    assert done.stdout.strip() == b"data:v1", done.stderr


@pytest.mark.mounted
def test_a_state_directory_on_a_full_disk_costs_time_and_nothing_else(small_disk: Path, tmp_path: Path) -> None:
    places = {"ARTIFACTFS_REPO": str(tmp_path / "repo"), "ARTIFACTFS_STATE": str(small_disk / "state")}
    make_files(tmp_path / "files", seed=1, count=50)
    fill(small_disk / "filled")
    for command, printed in (
        (["put", "data", f"{tmp_path}/files/"], b"data:v0\n"),
        (["ls"], b"data\n"),
        (["get", "data", str(tmp_path / "copy")], os.fsencode(tmp_path / "copy") + b"\n"),
        (["verify", "data", str(tmp_path / "copy")], b""),
    ):
        done = run(*command, **places)
        assert (done.returncode, done.stdout) == (0, printed), done.stderr
        assert b"without an index" in done.stderr
    (small_disk / "filled").unlink()
    assert b"without an index" not in run("ls", **places).stderr


def fill(path: Path) -> None:
    """Write to a file until the disk is full, to the last block."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass


def test_two_puts_at_once_make_two_versions(tmp_path: Path) -> None:
    places = {"ARTIFACTFS_REPO": str(tmp_path / "repo")}
    processes = []
    for seed in range(4):
        make_files(tmp_path / f"files{seed}", seed=seed, count=30)
        command = [*COMMAND, "put", "data", f"{tmp_path}/files{seed}/"]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **places}))
    said = sorted(process.communicate()[0].strip() for process in processes)
    assert said == [b"data:v0", b"data:v1", b"data:v2", b"data:v3"]
    with open_repository(str(tmp_path / "repo"), state=str(tmp_path / "state"), author="tester") as repository:
        assert assert_whole(repository) == 4
