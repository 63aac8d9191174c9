"""A repository in a mount: what it shows, that real tools work, and that nothing wrong is served."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from artifactfs.errors import AliasNotFoundError, MountError
from artifactfs.mount import api
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.registry import prepare_folders, slot_for
from artifactfs.repository import changes
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import find_stored
from tests.mount.conftest import TIME_NS, Folders, errno_of, put, wait_until

pytestmark = pytest.mark.mounted


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a tool that must succeed and say nothing on standard error; return its output."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="surrogateescape")


def test_the_catalogue(mounted: MountInfo) -> None:
    top = Path(mounted.mountpoint)
    assert os.listdir(top) == ["animals"]
    assert sorted(os.listdir(top / "animals")) == ["latest", "v0"]
    assert os.readlink(top / "animals" / "latest") == "v0"
    assert (top / "animals" / "latest" / "README").read_text() == "hello\n"


def test_new_versions_and_moved_aliases_show_at_once(mounted: MountInfo, repository: Repository, source: Path) -> None:
    top = Path(mounted.mountpoint, "animals")
    assert not (top / "v1").exists()
    assert not (top / "best").exists()
    assert os.readlink(top / "latest") == "v0"
    (source / "README").write_text("second\n")
    put(repository, source, aliases=("best",))
    if mounted.transport == "kernel":  # it is told within 100 ms, which tests/kernel asserts; fusepy asks each time
        wait_until(lambda: os.readlink(top / "latest") == "v1")
        wait_until((top / "best").exists)
    assert os.readlink(top / "latest") == "v1"
    assert (top / "latest" / "README").read_text() == "second\n"
    assert (top / "best" / "README").read_text() == "second\n"
    assert (top / "v0" / "README").read_text() == "hello\n"
    put(repository, source, name="other")
    if mounted.transport == "kernel":
        wait_until(lambda: "other" in os.listdir(mounted.mountpoint))
    assert "other" in os.listdir(mounted.mountpoint)


def test_what_is_removed_is_forgotten_when_the_kernel_is_told(
    folders: Folders, mounted: MountInfo, repository: Repository, source: Path
) -> None:
    put(repository, source, aliases=("best",))
    top = Path(mounted.mountpoint, "animals")
    wait_until((top / "best").exists)
    repository.append("animals", lambda state: changes.remove_aliases(state, aliases=["best"]))
    wait_until(lambda: "best" not in os.listdir(top))
    wait_until(lambda: not (top / "best").exists())
    api.refresh_name(folders, repository.id, collection="animals", name="best")
    assert not os.path.lexists(top / "best")
    api.refresh_name(folders, repository.id, collection="animals", name="v0")
    assert (top / "v0").exists()


def test_extended_attributes(version: Path, source: Path) -> None:
    assert os.getxattr(version, "user.artifactfs.version") == b"animals:v0"
    assert os.getxattr(version, "user.artifactfs.aliases") == b"latest"
    assert os.getxattr(version, "user.artifactfs.type") == b"dataset"
    digest = hashlib.sha256((source / "big").read_bytes()).hexdigest()
    assert os.getxattr(version / "big", "user.artifactfs.digest") == f"sha256:{digest}".encode()


def test_diff_and_attributes(version: Path, source: Path) -> None:
    assert run("diff", "-r", "--no-dereference", source, version) == ""
    for path in [*source.rglob("*")]:
        there, here = os.lstat(version / path.relative_to(source)), os.lstat(path)
        assert there.st_mtime_ns == here.st_mtime_ns == TIME_NS
        assert there.st_mode == here.st_mode
        if not path.is_dir():
            assert there.st_size == here.st_size


def test_cp(version: Path, source: Path, tmp_path: Path) -> None:
    run("cp", "-a", version, tmp_path / "copy")
    assert run("diff", "-r", "--no-dereference", source, tmp_path / "copy") == ""
    assert os.stat(tmp_path / "copy" / "README").st_mtime_ns == TIME_NS


@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
def test_rsync(version: Path, source: Path, tmp_path: Path) -> None:
    run("rsync", "-a", f"{version}/", tmp_path / "copy")
    assert run("rsync", "-ain", "--checksum", "--delete", f"{version}/", f"{source}/") == ""
    assert run("rsync", "-ain", "--checksum", "--delete", f"{version}/", tmp_path / "copy/") == ""


def test_tar(version: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run("tar", "cf", tmp_path / "x.tar", "-C", version, ".")
    run("tar", "xf", tmp_path / "x.tar", "-C", tmp_path / "out")
    assert run("diff", "-r", "--no-dereference", source, tmp_path / "out") == ""


def test_listing_finding_counting(version: Path, source: Path) -> None:
    here = run("find", ".", "-printf", r"%p %y %s %m %T@\n", "!", "-type", "d", cwd=source)
    for tool in (["find", ".", "-type", "f", "-size", "+1k"], ["find", ".", "-name", "f00*"], ["find", ".", "-empty"]):
        assert sorted(run(*tool, cwd=version).split("\0")[0].split("\n")) == sorted(
            run(*tool, cwd=source).split("\0")[0].split("\n")
        )
    assert here
    assert run("ls", "-lR", version).count("\n") == run("ls", "-lR", source).count("\n")
    assert run("du", "-s", "--apparent-size", version / "images" / "cat.png").split()[0] == "293"
    assert int(run("du", "-s", version).split()[0]) >= 9 * 1024


def test_sums(version: Path, source: Path) -> None:
    command = "find . -type f -print0 | sort -z | xargs -0 sha256sum"
    assert run("sh", "-c", command, cwd=version) == run("sh", "-c", command, cwd=source)


def test_cat(version: Path, source: Path) -> None:
    done = subprocess.run(["cat", str(version / "big")], capture_output=True, check=True)
    assert done.stdout == (source / "big").read_bytes()


def test_memory_maps(version: Path, source: Path) -> None:
    mapped = np.memmap(version / "big", dtype=np.uint8, mode="r")
    assert (np.asarray(mapped) == np.frombuffer((source / "big").read_bytes(), dtype=np.uint8)).all()


def test_programs_run(version: Path, folders: Folders, repository: Repository, tmp_path: Path) -> None:
    assert run(version / "run.sh", "well") == "ran well\n"
    (tmp_path / "bin").mkdir()
    shutil.copy(shutil.which("true") or "/bin/true", tmp_path / "bin" / "true")
    put(repository, tmp_path / "bin", name="programs")
    assert run(version.parent.parent / "programs" / "latest" / "true") == ""


def test_64_threads(version: Path, source: Path) -> None:
    paths = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]

    def is_equal(path: Path) -> bool:
        return (version / path).read_bytes() == (source / path).read_bytes()

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(is_equal, paths * 2))


def test_8_processes(version: Path, source: Path) -> None:
    script = (
        "import hashlib, os, sys\n"
        "print(hashlib.sha256(b''.join(open(os.path.join(d, f), 'rb').read()"
        " for d, ds, fs in sorted(os.walk(sys.argv[1])) for f in sorted(fs)"
        " if not os.path.islink(os.path.join(d, f)))).hexdigest())"
    )
    readers = [subprocess.Popen([sys.executable, "-c", script, str(version)], stdout=subprocess.PIPE) for _ in range(8)]
    expected = subprocess.run([sys.executable, "-c", script, str(source)], capture_output=True, check=True).stdout
    assert {reader.communicate()[0] for reader in readers} == {expected}


def test_equal_files_have_one_number(mounted: MountInfo, repository: Repository, source: Path) -> None:
    (source / "README").write_text("second\n")
    put(repository, source)
    top = Path(mounted.mountpoint, "animals")
    assert os.stat(top / "v0" / "big").st_ino == os.stat(top / "v1" / "big").st_ino
    assert os.stat(top / "v0" / "README").st_ino != os.stat(top / "v1" / "README").st_ino


def test_one_version_as_the_root(folders: Folders, repository: Repository, mountpoint: Path, source: Path) -> None:
    options = MountOptions(artifact="animals:latest")
    info = api.mount(folders, str(mountpoint), options=options)
    assert (info.kind, info.collection, info.version) == ("version", "animals", 0)
    assert run("diff", "-r", "--no-dereference", source, mountpoint) == ""
    (source / "README").write_text("second\n")
    put(repository, source)
    assert (mountpoint / "README").read_text() == "hello\n"
    assert api.find_path(folders, repository.id, collection="animals", version=0) == str(mountpoint)
    assert api.find_path(folders, repository.id, collection="animals", version=1) is None


def test_an_unknown_version_is_no_mount(folders: Folders, repository: Repository, mountpoint: Path) -> None:
    with pytest.raises(AliasNotFoundError):
        api.mount(folders, str(mountpoint), options=MountOptions(artifact="animals:lates"))
    assert list(api.iter_mounts(folders)) == []


def test_find_path(folders: Folders, mounted: MountInfo, repository: Repository) -> None:
    path = api.find_path(folders, repository.id, collection="animals", version=0)
    assert path == f"{mounted.mountpoint}/animals/v0"
    assert api.find_path(folders, "1" * 32, collection="animals", version=0) is None


@pytest.mark.parametrize("name", ["images/cat.png", "big", "README"])
@pytest.mark.parametrize("damage", ["removed", "changed", "cut"])
def test_damage_is_never_served(
    mounted: MountInfo, version: Path, repository: Repository, source: Path, name: str, damage: str
) -> None:
    os.listdir(version)
    content = (source / name).read_bytes()
    stored = find_stored(repository, repository.get_collection("animals").versions[0].root, name.encode())
    if damage == "removed":
        stored.file.unlink()
    elif damage == "changed":
        stored.damage(bytes([content[0] ^ 1]))
    else:
        stored.file.chmod(0o644)
        os.truncate(stored.file, stored.offset + len(content) // 2)
    assert errno_of((version / name).read_bytes) == errno.EIO
    log = Path(mounted.log).read_text()
    assert stored.file.name in log or hashlib.sha256(content).hexdigest() in log
    if damage == "changed" or name == "big":
        assert (version / "many" / "f0001").read_text() == "content 1\n"


def test_a_second_mount_of_the_same_repository(
    folders: Folders, mounted: MountInfo, tmp_path: Path, source: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    api.mount(folders, str(other), options=MountOptions())
    assert run("diff", "-r", "--no-dereference", source, other / "animals" / "v0") == ""
    api.unmount(folders, mounted.mountpoint)
    assert (other / "animals" / "v0" / "README").read_text() == "hello\n"


def test_inside_the_repository(folders: Folders, repository: Repository) -> None:
    with pytest.raises(MountError, match="inside the repository"):
        api.mount(folders, f"{repository.location}/blobs", options=MountOptions())


def test_the_paths_that_are_long(folders: Folders, mounted: MountInfo, repository: Repository, tmp_path: Path) -> None:
    top = tmp_path / "long"
    deep = top
    for _ in range(12):
        deep /= "d" * 255
    os.makedirs(top)
    here = os.open(top, os.O_RDONLY)
    for _ in range(12):
        os.mkdir("d" * 255, dir_fd=here)
        below = os.open("d" * 255, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    put(repository, top, name="long")
    assert run("find", Path(mounted.mountpoint, "long", "v0"), "-name", "file").count("\n") == 1


@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_server_that_cannot_start_leaves_no_mount(
    folders: Folders, repository: Repository, source: Path, mountpoint: Path, transport: str
) -> None:
    put(repository, source)
    prepare_folders(folders)
    os.mkdir(slot_for(folders, str(mountpoint)).socket)  # where the control socket would be
    with pytest.raises(MountError, match="control socket"):
        api.mount(folders, str(mountpoint), options=MountOptions(transport=transport))
    assert find_mount(str(mountpoint)) is None


@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_the_runtime_directory_may_have_a_long_path(
    folders: Folders, repository: Repository, source: Path, mountpoint: Path, tmp_path: Path, transport: str
) -> None:
    put(repository, source)
    runtime = tmp_path / ("long" * 20) / ("long" * 20)
    runtime.mkdir(parents=True)
    places = dataclasses.replace(folders, runtime=str(runtime))
    api.mount(places, str(mountpoint), options=MountOptions(transport=transport))
    try:
        assert (mountpoint / "animals" / "latest").is_symlink()
        assert [info.mountpoint for info in api.iter_mounts(places)] == [str(mountpoint)]
    finally:
        api.unmount(places, str(mountpoint))
