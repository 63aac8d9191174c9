"""Staging directories in a mount: real tools that write."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.errors import UsageError
from artifactfs.mount import api
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.options import MountInfo
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging
from artifactfs.staging.layout import OVERLAY
from tests.mount.conftest import TIME_NS, Folders, errno_of, wait_until
from tests.mount.staging_support import (
    area,
    commit,
    driver,
    needs_binding,
    staged,
    staging,
    transport,
)
from tests.mount.test_versions import run

__all__ = ["area", "commit", "driver", "staged", "staging", "transport"]

pytestmark = pytest.mark.mounted


@needs_binding
def test_it_is_bound_into_the_mount(folders: Folders, mounted: MountInfo, staged: Path, repository: Repository) -> None:
    assert staged == Path(mounted.mountpoint, "animals", "@staging")
    assert find_mount(str(staged)) is not None
    assert "@staging" in os.listdir(staged.parent)
    assert api.find_staging_path(folders, repository.id, collection="animals", name="staging") == str(staged)
    assert (staged / "README").read_text() == "hello\n"


def test_it_shows_the_version(staged: Path, source: Path) -> None:
    assert run("diff", "-r", "--no-dereference", source, f"{staged}/.") == ""
    assert os.lstat(staged / "README").st_mtime_ns == TIME_NS


def test_without_a_mount_nothing_is_started(folders: Folders, repository: Repository, staging: Staging) -> None:
    assert api.attach_staging(folders, repository, staging=staging) is None
    assert list(api.iter_mounts(folders)) == []


def test_it_shows_at_the_next_mount(folders: Folders, staging: Staging, mounted: MountInfo) -> None:
    assert Path(mounted.mountpoint, "animals", "@staging", "README").read_text() == "hello\n"


def test_it_shows_in_a_foreground_mount(
    folders: Folders, mountpoint: Path, repository: Repository, staging: Staging
) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from artifactfs.mount import api\n"
        "from artifactfs.mount.options import MountOptions\n"
        "from tests.mount.conftest import Folders\n"
        "api.mount(Folders(*sys.argv[3:]), sys.argv[2], options=MountOptions(foreground=True))\n"
    )
    top = str(Path(__file__).parent.parent.parent)
    places = [folders.repository, folders.state, folders.cache, folders.runtime]
    command = [sys.executable, "-c", script, top, str(mountpoint), *places]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            wait_until(lambda: errno_of((mountpoint / "animals" / "@staging" / "README").read_text) is None)
        finally:
            process.terminate()
        _, said = process.communicate()
    assert process.returncode == 0
    assert f"mounted {mountpoint}" in said.decode()
    assert list(api.iter_mounts(folders)) == []


def test_writing(staged: Path) -> None:
    with open(staged / "new", "w", encoding="utf-8") as file:
        file.write("one\n")
    with open(staged / "new", "a", encoding="utf-8") as file:
        file.write("two\n")
    with open(staged / "README", "r+b") as file:
        file.seek(2)
        file.write(b"LL")
        file.flush()
        os.fsync(file.fileno())
    assert (staged / "new").read_text() == "one\ntwo\n"
    assert (staged / "README").read_text() == "heLLo\n"
    with open(staged / "big", "wb") as file:
        file.write(b"short")
    assert (staged / "big").read_bytes() == b"short"
    os.truncate(staged / "images" / "cat.png", 1000)
    assert os.stat(staged / "images" / "cat.png").st_size == 1000


def test_the_version_below_stays(staged: Path, source: Path) -> None:
    shutil.rmtree(staged / "images")
    (staged / "README").unlink()
    (staged / "big").write_bytes(b"")
    assert run("diff", "-r", "--no-dereference", source, staged.parent / "v0") == ""


def test_renaming(staged: Path) -> None:
    os.rename(staged / "images", staged / "pictures")
    os.rename(staged / "README", staged / "pictures" / "READ")
    assert (staged / "pictures" / "deep" / "deeper" / "file").read_text() == "deep\n"
    assert (staged / "pictures" / "READ").read_text() == "hello\n"
    assert not (staged / "images").exists()
    assert errno_of(lambda: os.rmdir(staged / "pictures")) == errno.ENOTEMPTY
    assert errno_of(lambda: os.rename(staged / "pictures", staged / "pictures" / "deep" / "x")) == errno.EINVAL


def test_links(staged: Path) -> None:
    os.symlink("README", staged / "soft")
    os.link(staged / "README", staged / "hard")
    assert (staged / "soft").read_text() == (staged / "hard").read_text() == "hello\n"
    assert os.stat(staged / "hard").st_ino == os.stat(staged / "README").st_ino
    assert os.stat(staged / "hard").st_nlink == 2


def test_an_unlinked_file_goes_on_working(staged: Path) -> None:
    with open(staged / "README", "r+b") as file:
        os.unlink(staged / "README")
        assert not (staged / "README").exists()
        assert [name for name in os.listdir(staged) if "hidden" in name] == []
        assert os.fstat(file.fileno()).st_size == 6
        file.write(b"J")
        file.flush()
        os.ftruncate(file.fileno(), 3)
        assert os.fstat(file.fileno()).st_size == 3
        file.seek(0)
        assert file.read() == b"Jel"
    with open(staged / "images" / "cat.png", "rb") as file:
        os.unlink(staged / "images" / "cat.png")
        assert os.fstat(file.fileno()).st_size == 300_000
        assert len(file.read()) == 300_000
    with tempfile.TemporaryFile(dir=staged) as file:
        file.write(b"x" * 100_000)
        file.flush()
        assert os.fstat(file.fileno()).st_size == 100_000


def test_a_replaced_file_goes_on_working(staged: Path) -> None:
    (staged / "new").write_text("new\n")
    with open(staged / "README", encoding="utf-8") as file:
        os.rename(staged / "new", staged / "README")
        assert file.read() == "hello\n"
    assert (staged / "README").read_text() == "new\n"
    assert [name for name in os.listdir(staged) if "hidden" in name] == []


@pytest.mark.parametrize("name", [".fuse_hidden", ".fuse_hidden0000000100000001"])
def test_a_name_as_libfuse_gives_to_removed_files_is_one(
    staged: Path, staging: Staging, commit: Callable[[Staging], int], name: str
) -> None:
    """As `rsync` gives it, which renames what it has written: what other mounts have left is data, too."""
    (staged / "images" / ".temporary").write_text("kept\n")
    with open(staged / "images" / ".temporary", encoding="utf-8") as file:
        os.rename(staged / "images" / ".temporary", staged / "images" / name)
        assert file.read() == "kept\n"
    assert (staged / "images" / name).read_text() == "kept\n"
    with open(staged / "images" / name, encoding="utf-8") as file:
        os.rename(staged / "README", staged / "images" / name)
        assert file.read() == "kept\n"
    assert (staged / "images" / name).read_text() == "hello\n"
    assert commit(staging) == 1
    assert (staged.parent / "v1" / "images" / name).read_text() == "hello\n"


def test_modes_and_times(staged: Path) -> None:
    os.chmod(staged / "README", 0o640)
    assert stat.S_IMODE(os.stat(staged / "README").st_mode) == 0o640
    os.utime(staged / "README", ns=(1, 1_234_567_890_987_654_321))
    assert os.stat(staged / "README").st_mtime_ns == 1_234_567_890_987_654_321
    assert os.stat(staged / "README").st_atime_ns == 1
    run("touch", "-a", staged / "README")
    assert os.stat(staged / "README").st_mtime_ns == 1_234_567_890_987_654_321
    assert os.stat(staged / "README").st_atime_ns > 1
    before = os.stat(staged / "README").st_atime_ns
    run("touch", "-m", "-d", "@5.25", staged / "README")
    assert os.stat(staged / "README").st_mtime_ns == 5_250_000_000
    assert os.stat(staged / "README").st_atime_ns == before
    os.utime(staged / "images", ns=(7, 7))
    assert os.stat(staged / "images").st_mtime_ns == 7


def test_extended_attributes(staged: Path) -> None:
    os.setxattr(staged / "README", "user.mine", b"value")
    assert os.getxattr(staged / "README", "user.mine") == b"value"
    assert os.listxattr(staged / "README") == ["user.mine"]
    os.removexattr(staged / "README", "user.mine")
    assert os.listxattr(staged / "README") == []


def test_locks(staged: Path) -> None:
    with open(staged / "README", "r+b") as one, open(staged / "README", "r+b") as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        assert errno_of(lambda: fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)) == errno.EAGAIN
        fcntl.lockf(one, fcntl.LOCK_EX)


def test_statfs(staged: Path, folders: Folders) -> None:
    assert os.statvfs(staged).f_blocks == os.statvfs(folders.state).f_blocks


def test_fifos_are_refused_or_stop_a_commit(
    staged: Path, staging: Staging, driver: str, commit: Callable[[Staging], int]
) -> None:
    if driver == OVERLAY:
        os.mkfifo(staged / "fifo")
        with pytest.raises(UsageError, match="fifo"):
            commit(staging)
        return
    assert errno_of(lambda: os.mkfifo(staged / "fifo")) == errno.EPERM


def test_memory_maps(staged: Path) -> None:
    with open(staged / "README", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:1] = b"J"
        mapped.flush()
        assert (staged / "README").read_text() == "Jello\n"


def test_names_that_are_not_text(staged: Path) -> None:
    top = os.fsencode(staged)
    with open(top + b"/\xfe\xff", "wb") as file:
        file.write(b"x")
    os.rename(top + b"/not-\xff-utf8", top + b"/moved-\xff")
    assert {b"\xfe\xff", b"moved-\xff"} <= set(os.listdir(top))


def test_cp(staged: Path, source: Path) -> None:
    run("cp", "-r", source, staged / "copy")
    assert run("diff", "-r", "--no-dereference", source, staged / "copy") == ""


@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
def test_rsync(staged: Path, source: Path) -> None:
    (source / "images" / "cat.png").unlink()
    (source / "README").write_text("changed\n")
    (source / "added").write_text("added\n")
    run("rsync", "-a", "--delete", f"{source}/", f"{staged}/")
    assert run("diff", "-r", "--no-dereference", source, f"{staged}/.") == ""
    assert run("rsync", "-ain", "--delete", f"{source}/", f"{staged}/") == ""


def test_tar(staged: Path, source: Path, tmp_path: Path) -> None:
    run("tar", "cf", tmp_path / "x.tar", "-C", source, ".")
    (staged / "out").mkdir()
    run("tar", "xf", tmp_path / "x.tar", "-C", staged / "out")
    assert run("diff", "-r", "--no-dereference", source, staged / "out") == ""
    assert os.stat(staged / "out" / "README").st_mtime_ns // 10**9 == TIME_NS // 10**9


def test_mv_and_sed(staged: Path) -> None:
    run("mv", staged / "images", staged / "moved")
    run("mv", staged / "many" / "f0001", staged / "moved")
    run("sed", "-i", "s/hello/goodbye/", staged / "README")
    assert (staged / "README").read_text() == "goodbye\n"
    assert (staged / "moved" / "f0001").read_text() == "content 1\n"


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_git(staged: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=staged, check=True)
    subprocess.run(["git", "add", "."], cwd=staged, check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, "commit", "-qm", "first"], cwd=staged, check=True)
    assert run("git", "status", "--porcelain", cwd=staged) == ""
    run("git", "fsck", "--full", "--no-progress", cwd=staged)


def test_removing_everything(staged: Path) -> None:
    run("sh", "-c", "rm -rf ./* ", cwd=staged)
    assert os.listdir(staged) == []
