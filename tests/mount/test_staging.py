"""Staging directories in a mount: real tools that write, commits under use, servers that die."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artifactfs.errors import BusyError, UsageError
from artifactfs.mount import api, staging_mounts, unmounting
from artifactfs.mount.mountinfo import find_mount, read_mounts
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.orders import Order
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.mount.registry import iter_live
from artifactfs.mount.spare import Spare
from artifactfs.mount.syscalls import may_mount, unmount_privileged
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import OVERLAY, UNION
from tests.mount.conftest import TIME_NS, Folders, errno_of, wait_until
from tests.mount.test_versions import run

pytestmark = pytest.mark.mounted

needs_binding = pytest.mark.skipif(not may_mount(), reason="binding needs CAP_SYS_ADMIN")


@pytest.fixture
def transport() -> str:
    """Staging directories are served alike, whichever transport serves the versions."""
    return "auto"


@pytest.fixture
def area(repository: Repository) -> StagingArea:
    return StagingArea(repository)


@pytest.fixture(params=[OVERLAY, UNION])
def driver(request: pytest.FixtureRequest) -> str:
    """Return the driver that serves staging directories: both keep one contract."""
    if request.param == OVERLAY and not may_overlay():
        pytest.skip("the overlay driver needs CAP_SYS_ADMIN in the initial user namespace")
    return str(request.param)


def stage(area: StagingArea, repository: Repository, driver: str, *, name: str = "staging") -> Staging:
    version = repository.get_collection("animals").versions[0]
    return area.create("animals", name=name, version=version, driver=driver)


@pytest.fixture
def staging(area: StagingArea, repository: Repository, driver: str) -> Staging:
    return stage(area, repository, driver)


@pytest.fixture
def staged(folders: Folders, mounted: MountInfo, repository: Repository, staging: Staging) -> Path:
    """Return `animals/@staging` in the mount."""
    path = api.attach_staging(folders, repository, staging=staging)
    assert path is not None
    return Path(path)


@pytest.fixture
def commit(folders: Folders, repository: Repository, area: StagingArea) -> Callable[[Staging], int]:
    """Return a function that commits a staging directory and returns the version's number."""

    def commit(staging: Staging) -> int:
        freezer = api.MountFreezer(folders, repository.id)
        return area.commit(staging, freezer=freezer).result.version.number

    return commit


def server_of(folders: Folders) -> MountInfo:
    return next(info for info in api.iter_mounts(folders) if info.kind == "staging")


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


def test_commit_while_mounted(
    staged: Path, staging: Staging, repository: Repository, commit: Callable[[Staging], int], area: StagingArea
) -> None:
    (staged / "new").write_text("new\n")
    os.rename(staged / "images", staged / "pictures")
    assert commit(staging) == 1
    top = staged.parent
    assert os.readlink(top / "latest") == "v1"
    assert run("diff", "-r", "--no-dereference", f"{staged}/.", top / "v1") == ""
    assert area.changes(area.get("animals")) == []
    (staged / "more").write_text("more\n")
    assert commit(staging) == 2
    assert sorted(os.listdir(top)) == ["@staging", "latest", "v0", "v1", "v2"]
    assert run("diff", "-r", "--no-dereference", f"{staged}/.", top / "v2") == ""


def test_open_writers_stop_a_commit_and_are_named(
    staged: Path, staging: Staging, commit: Callable[[Staging], int]
) -> None:
    script = "import sys; file = open(sys.argv[1], 'w'); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(staged / "images" / "written")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(BusyError, match=rf"images/written by process {process.pid} \(python"):
            commit(staging)
        assert not (staged.parent / "v1").exists()
        process.communicate()
    assert commit(staging) == 1


@pytest.mark.parametrize("driver", [UNION])
def test_changes_wait_while_frozen_and_go_on_when_the_committer_dies(
    folders: Folders, staged: Path, staging: Staging, repository: Repository
) -> None:
    freezer = api.MountFreezer(folders, repository.id)
    # Looked up before: while a file is being made, the kernel lets nobody look up a new name in its directory.
    assert (staged / "README").exists()
    with freezer.freeze(staging):
        writer = subprocess.Popen(["sh", "-c", f"echo late > '{staged}/late'"])
        assert (staged / "README").read_text() == "hello\n"
        with pytest.raises(BusyError, match="committed already"), freezer.freeze(staging):
            pass
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.3)
    assert writer.wait(20) == 0
    assert (staged / "late").read_text() == "late\n"


def test_while_changes_are_held_others_are_answered(
    folders: Folders, staged: Path, staging: Staging, repository: Repository, driver: str
) -> None:
    if driver == OVERLAY:
        pytest.skip("the kernel refuses changes, and answers the rest itself")
    writers: list[subprocess.Popen[bytes]] = []
    with api.MountFreezer(folders, repository.id).freeze(staging):
        # More of them than there are spare threads: each is held, and none holds up who only reads.
        for number in range(12):
            writers.append(subprocess.Popen(["sh", "-c", f"echo {number} > {staged}/images/held-{number}"]))
            assert run("cat", staged / "README") == "hello\n"
        assert "images" in run("ls", staged)
        assert all(writer.poll() is None for writer in writers)
    assert [writer.wait(timeout=20) for writer in writers] == [0] * 12
    assert [(staged / "images" / f"held-{number}").read_text() for number in range(12)] == [
        f"{number}\n" for number in range(12)
    ]


def test_sigterm_of_the_server_leaves_what_was_written(folders: Folders, staged: Path, driver: str) -> None:
    before = server_of(folders)
    descriptor = os.open(staged / "written", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"written\n")
    os.kill(before.pid, signal.SIGTERM)
    wait_until(lambda: any(info.kind == "staging" and info.pid != before.pid for info in iter_live(folders)))
    errno_of(lambda: os.close(descriptor))  # ENOTCONN, of the union
    wait_until(lambda: errno_of((staged / "written").read_text) is None)
    assert (staged / "written").read_text() == "written\n"


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


def test_a_killed_committer_leaves_nothing_frozen(folders: Folders, staged: Path, driver: str) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from artifactfs.mount.control import find_client\n"
        "client = find_client(sys.argv[2]); client.ask('freeze')\n"
        "print('frozen', flush=True); sys.stdin.read()\n"
    )
    top = str(Path(__file__).parent.parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", script, top, server_of(folders).socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"frozen\n"
    process.kill()
    process.communicate()
    if driver == OVERLAY:  # the union lets who writes wait; the kernel answers EROFS until the server has thawed
        wait_until(lambda: _is_written(staged / "after", "after\n"))
    else:
        (staged / "after").write_text("after\n")
    assert (staged / "after").read_text() == "after\n"


def _is_written(path: Path, text: str) -> bool:
    try:
        path.write_text(text)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return False
    return True


def test_several_at_once(
    folders: Folders,
    staged: Path,
    repository: Repository,
    area: StagingArea,
    driver: str,
    commit: Callable[[Staging], int],
) -> None:
    other = stage(area, repository, driver, name="other")
    path = api.attach_staging(folders, repository, staging=other)
    assert path is not None
    Path(path, "mine").write_text("mine\n")
    assert not (staged / "mine").exists()
    assert commit(other) == 1


@needs_binding
def test_a_lost_bind_comes_back(staged: Path) -> None:
    unmount_privileged(str(staged))
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


def test_umount_stops_at_who_stands_in_it(folders: Folders, mounted: MountInfo, staged: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=staged) as process:
        with pytest.raises(BusyError, match=f"process {process.pid}"):
            api.unmount(folders, mounted.mountpoint)
        assert (staged / "README").read_text() == "hello\n"
        process.communicate()


def test_what_is_being_committed_is_not_discarded(
    folders: Folders, staged: Path, staging: Staging, repository: Repository, area: StagingArea
) -> None:
    class Freezer(api.MountFreezer):
        @contextmanager
        def freeze(self, staging: Staging) -> Iterator[bool]:
            with super().freeze(staging) as served:
                with pytest.raises(BusyError, match="being committed"):
                    api.end_staging(folders, repository, staging, area)
                yield served

    (staged / "added").write_text("added\n")
    version = area.commit(staging, freezer=Freezer(folders, repository.id)).result.version
    assert version.number == 1
    assert (staged / "added").read_text() == "added\n"
    api.end_staging(folders, repository, staging, area)
    assert not os.path.lexists(staged)


def test_discarding(
    folders: Folders,
    mounted: MountInfo,
    staged: Path,
    staging: Staging,
    repository: Repository,
    area: StagingArea,
    driver: str,
) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=staged) as process:
        with pytest.raises(BusyError, match=f"process {process.pid}"):
            api.detach_staging(folders, repository, staging=staging)
        assert (staged / "README").read_text() == "hello\n"
        process.communicate()
    api.detach_staging(folders, repository, staging=staging)
    area.remove(staging)
    api.refresh_name(folders, repository.id, collection="animals", name="@staging")
    assert not os.path.lexists(staged)
    assert "@staging" not in os.listdir(staged.parent)
    again = stage(area, repository, driver)
    assert api.attach_staging(folders, repository, staging=again) == str(staged)
    assert (staged / "README").read_text() == "hello\n"


def test_a_new_collection_starts_empty(
    folders: Folders,
    mounted: MountInfo,
    repository: Repository,
    area: StagingArea,
    driver: str,
    commit: Callable[[Staging], int],
) -> None:
    staging = area.create("fresh", version=None, driver=driver)
    path = api.attach_staging(folders, repository, staging=staging)
    assert path is not None
    assert os.listdir(path) == []
    Path(path, "first").write_text("first\n")
    assert commit(staging) == 0
    assert Path(mounted.mountpoint, "fresh", "latest", "first").read_text() == "first\n"
