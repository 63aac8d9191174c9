"""Staging directories served by the kernel's overlayfs: how they are mounted, and what is left when something dies."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from artifactfs.errors import BusyError, MountError
from artifactfs.mount import api
from artifactfs.mount.freezing import MountFreezer
from artifactfs.mount.mountinfo import MountLine, find_mount, read_mounts
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.orders import LOWER
from artifactfs.mount.overlay.choice import choose_driver
from artifactfs.mount.overlay.mounting import OverlayPaths, may_overlay, mount_overlay
from artifactfs.mount.registry import iter_live
from artifactfs.mount.syscalls import unmount_privileged
from artifactfs.repository import changes
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import AUTO, OVERLAY, UNION, freezing, read_driver
from tests.mount.conftest import Folders, errno_of, wait_until
from tests.mount.staging_support import area, transport
from tests.mount.test_versions import run

__all__ = ["area", "transport"]

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(not may_overlay(), reason="needs CAP_SYS_ADMIN in the initial user namespace"),
]
TOP = str(Path(__file__).parent.parent.parent)


@pytest.fixture
def staging(area: StagingArea, repository: Repository) -> Staging:
    return area.create("animals", version=repository.get_collection("animals").versions[0])


@pytest.fixture
def staged(folders: Folders, mounted: MountInfo, repository: Repository, staging: Staging) -> Path:
    return attach(folders, repository, staging)


def attach(folders: Folders, repository: Repository, staging: Staging) -> Path:
    path = api.attach_staging(folders, repository, staging=staging)
    assert path is not None
    return Path(path)


def line_of(path: Path) -> MountLine:
    line = find_mount(str(path))
    assert line is not None
    return line


def server_of(folders: Folders, kind: str = "staging") -> MountInfo:
    return next(info for info in iter_live(folders) if info.kind == kind)


def options_of(path: Path) -> str:
    return next(
        line.rpartition(" - ")[2]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if line.split()[4] == str(path)
    )


def without_privilege(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as root that may not mount."""
    drop = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    command = [*drop, sys.executable, "-c", f"import sys; sys.path.insert(0, {TOP!r})\n{code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_is_chosen_where_it_can_be(folders: Folders, staged: Path, staging: Staging) -> None:
    assert staging.info.driver == AUTO
    assert line_of(staged).fstype == "overlay"
    assert server_of(folders).transport == "overlay"
    assert read_driver(staging.layout) == OVERLAY
    assert "redirect_dir=on" in options_of(staged)
    for absent in ("metacopy=on", "index=on", "nfs_export=on", "xino=on", "volatile"):
        assert absent not in options_of(staged)
    assert "nosuid,nodev" in next(
        line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {staged} " in line
    )


def test_what_is_below_is_not_listed_among_the_mounts(folders: Folders, staged: Path) -> None:
    assert server_of(folders, LOWER).read_only
    assert {info.kind for info in api.iter_mounts(folders)} == {"repository", "staging"}


def test_a_copy_has_no_attributes_of_the_version(staged: Path, staging: Staging) -> None:
    os.chmod(staged / "README", 0o600)
    assert os.listxattr(staged / "README") == []
    names = os.listxattr(os.path.join(staging.upper, b"README"))
    assert [name for name in names if not name.startswith("trusted.overlay.")] == []


def test_renaming_a_directory_copies_nothing(staged: Path, staging: Staging) -> None:
    os.rename(staged / "images", staged / "many" / "moved")
    moved = os.path.join(staging.upper, b"many/moved")
    assert os.listdir(moved) == []
    assert os.getxattr(moved, "trusted.overlay.redirect") == b"/images"
    assert (staged / "many" / "moved" / "deep" / "deeper" / "file").read_text() == "deep\n"


def test_a_killed_server_is_not_missed(folders: Folders, staged: Path) -> None:
    before = server_of(folders)
    device = line_of(staged).device
    with open(staged / "written", "w", encoding="utf-8", buffering=1) as file:
        file.write("before\n")
        os.kill(before.pid, signal.SIGKILL)
        wait_until(lambda: any(info.kind == "staging" and info.pid != before.pid for info in iter_live(folders)))
        file.write("after\n")
    assert line_of(staged).device == device
    assert (staged / "written").read_text() == "before\nafter\n"


def test_a_server_killed_during_a_commit_leaves_nothing_read_only(
    folders: Folders, staged: Path, staging: Staging, repository: Repository
) -> None:
    before = server_of(folders).pid
    with MountFreezer(folders, repository.id).freeze(staging) as is_served:
        assert is_served
        assert errno_of(lambda: (staged / "new").write_text("x")) == errno.EROFS
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: any(info.kind == "staging" and info.pid != before for info in iter_live(folders)))
    (staged / "new").write_text("x")


def test_nothing_is_committed_without_a_freeze(
    folders: Folders, staged: Path, staging: Staging, area: StagingArea, mounted: MountInfo, repository: Repository
) -> None:
    os.kill(mounted.pid, signal.SIGKILL)  # nobody brings the server back
    os.kill(server_of(folders).pid, signal.SIGKILL)
    wait_until(lambda: not [info for info in iter_live(folders) if info.kind == "staging"])
    with pytest.raises(BusyError):
        area.commit(staging, freezer=MountFreezer(folders, repository.id))


def test_it_comes_back_when_the_version_below_loses_its_server(folders: Folders, staged: Path) -> None:
    (staged / "kept").write_text("kept\n")
    killed = server_of(folders, LOWER).pid
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        # Not by its device: the kernel gives the number of the lost mount out again.
        others = [info.pid for info in iter_live(folders) if info.kind == LOWER and info.pid != killed]
        return bool(others) and errno_of(lambda: os.listdir(staged / "images")) is None

    wait_until(is_back, seconds=60)
    assert (staged / "kept").read_text() == "kept\n"
    assert (staged / "images" / "deep" / "deeper" / "file").read_text() == "deep\n"
    assert [info.kind for info in iter_live(folders)].count(LOWER) == 1


def test_it_outlives_the_server_of_the_mount(folders: Folders, mounted: MountInfo, staged: Path) -> None:
    own, device = server_of(folders).mountpoint, line_of(staged).device
    with open(os.path.join(own, "kept"), "w", encoding="utf-8", buffering=1) as file:
        file.write("before\n")
        os.kill(mounted.pid, signal.SIGKILL)
        wait_until(lambda: not [info for info in iter_live(folders) if info.kind == "repository"])
        file.write("after\n")
        api.mount(folders, mounted.mountpoint, options=MountOptions())
    assert line_of(staged).device == device
    assert (staged / "kept").read_text() == "before\nafter\n"


def test_a_deleted_base_goes_on_below(
    folders: Folders, mounted: MountInfo, staged: Path, source: Path, repository: Repository, staging: Staging
) -> None:
    (staged / "README").write_text("changed\n")
    repository.append("animals", partial(changes.delete_version, number=0, force=True))
    api.unmount(folders, mounted.mountpoint)
    api.mount(folders, mounted.mountpoint, options=MountOptions())
    assert (staged / "README").read_text() == "changed\n"
    assert run("diff", "-r", "--no-dereference", source / "images", staged / "images") == ""


def test_what_the_union_began_goes_on(
    folders: Folders, mounted: MountInfo, repository: Repository, area: StagingArea, source: Path, tmp_path: Path
) -> None:
    version = repository.get_collection("animals").versions[0]
    staging = area.create("animals", version=version, driver=UNION)
    staged = attach(folders, repository, staging)
    assert line_of(staged).fstype != "overlay"
    for top in (staged, source):
        os.rename(top / "images", top / "pictures")
        os.rename(top / "pictures" / "deep", top / "pictures" / "deeper")
        (top / "pictures" / "cat.png").unlink()
        shutil.rmtree(top / "many")
        (top / "many").mkdir()
        (top / "many" / "one").write_text("one\n")
        os.chmod(top / "run.sh", 0o700)
    api.detach_staging(folders, repository, staging=staging)
    info = Path(os.fsdecode(staging.layout.info))
    info.write_text(info.read_text().replace('"driver": "union"', '"driver": "auto"'))
    attach(folders, repository, staging)
    assert line_of(staged).fstype == "overlay"
    assert read_driver(staging.layout) == OVERLAY
    assert run("diff", "-r", "--no-dereference", source, f"{staged}/.") == ""
    assert os.stat(staged / "run.sh").st_mode & 0o777 == 0o700
    for path in (staged / "run.sh", staged / "pictures", staged / "many"):
        assert os.listxattr(path) == []


def test_the_union_refuses_what_the_kernel_began(staged: Path, staging: Staging, folders: Folders) -> None:
    code = (
        "from artifactfs.staging.layout import Layout, read_info\n"
        "from artifactfs.repository.staged import Staging\n"
        "from artifactfs.mount.overlay.choice import choose_driver\n"
        "layout = Layout(sys.argv[1], collection='animals', name='staging')\n"
        "try: print(choose_driver(Staging(read_info(layout), layout)))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    state = os.path.dirname(os.path.dirname(os.path.dirname(os.fsdecode(staging.layout.directory))))
    done = without_privilege(code, state)
    assert "MountError" in done.stdout
    assert "begun by the overlay driver" in done.stdout
    assert choose_driver(staging) == OVERLAY


def test_asking_for_it_without_the_right_is_refused(staging: Staging) -> None:
    done = without_privilege("from artifactfs.mount import api; api.check_driver('overlay')")
    assert "CAP_SYS_ADMIN" in done.stderr
    api.check_driver("overlay")


def test_an_unknown_driver_is_refused(staging: Staging) -> None:
    Path(os.fsdecode(staging.layout.driver)).write_text("other\n")
    with pytest.raises(MountError, match="'other'"):
        choose_driver(staging)


def test_paths_with_special_characters(tmp_path: Path) -> None:
    folder = tmp_path / "a,b:c\\d e"
    for name in ("lower", "upper", "work", "top"):
        (folder / name).mkdir(parents=True)
    (folder / "lower" / "below").write_text("below\n")
    paths = OverlayPaths(*(str(folder / name) for name in ("lower", "upper", "work")))
    mount_overlay(paths, str(folder / "top"))
    try:
        assert (folder / "top" / "below").read_text() == "below\n"
        (folder / "top" / "new").write_text("new\n")
        assert (folder / "upper" / "new").read_text() == "new\n"
    finally:
        unmount_privileged(str(folder / "top"))


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Return a function that runs a shell command where mounts arrive as `rslave`; `{top}` is the shared directory."""
    run("mount", "--bind", tmp_path, tmp_path)
    run("mount", "--make-shared", tmp_path)
    started: list[subprocess.Popen[str]] = []

    def start(script: str) -> subprocess.Popen[str]:
        command = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    for line in reversed(read_mounts()):
        if line.mountpoint == str(tmp_path) or line.mountpoint.startswith(f"{tmp_path}/"):
            subprocess.run(["umount", "-l", line.mountpoint], check=False, capture_output=True)


def test_it_appears_where_mounts_arrive_later(
    container: Callable[[str], subprocess.Popen[str]],
    folders: Folders,
    mountpoint: Path,
    repository: Repository,
    staging: Staging,
    area: StagingArea,
) -> None:
    shell = container("echo started; read line; cat $line; read line; exec 9>$line; echo open; read line")
    assert shell.stdin is not None
    assert shell.stdout is not None
    assert shell.stdout.readline() == "started\n"
    api.mount(folders, str(mountpoint), options=MountOptions())
    staged = attach(folders, repository, staging)
    shell.stdin.write(f"{staged}/README\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == "hello\n"
    shell.stdin.write(f"{staged}/images/written\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == "open\n"
    with pytest.raises(BusyError, match=rf"images/written by process {shell.pid} \(sh\)"):
        area.commit(staging, freezer=MountFreezer(folders, repository.id))


def test_mapped_files_stop_a_commit_and_are_named(
    folders: Folders, staged: Path, staging: Staging, area: StagingArea, repository: Repository
) -> None:
    # Python's own mmap keeps a descriptor open; here nothing but the map is left.
    script = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.mmap.restype = ctypes.c_void_p\n"
        "file = os.open(sys.argv[1], os.O_RDWR)\n"
        "assert libc.mmap(None, ctypes.c_size_t(4096), 3, 1, file, ctypes.c_long(0)) != 2**64 - 1\n"
        "os.close(file); print('mapped', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(staged / "README")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mapped\n"
        with pytest.raises(BusyError, match=rf"README by process {process.pid} \(python"):
            area.commit(staging, freezer=MountFreezer(folders, repository.id))
        process.communicate()
    assert area.commit(staging, freezer=MountFreezer(folders, repository.id)).result.version.number == 1


@pytest.mark.skipif(os.getuid() != 0, reason="chroot needs root")
def test_writers_are_named_below_another_root(staged: Path, tmp_path: Path) -> None:
    device = next(line.device for line in read_mounts() if line.mountpoint == str(staged))
    (tmp_path / "proc").mkdir()
    subprocess.run(["mount", "--rbind", "/proc", str(tmp_path / "proc")], check=True)
    script = (
        "import os, mmap, sys\n"
        "from artifactfs.mount.overlay.writers import describe_writers\n"
        "os.chroot(sys.argv[1])\n"
        "file = os.open(sys.argv[2], os.O_RDWR)\n"
        "kept = mmap.mmap(file, 4)\n"
        "print(describe_writers(sys.argv[3]))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), f"/{(staged / 'README').relative_to(tmp_path)}", device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path / "proc")], check=True)
    assert done.stdout.count("README by process") == 1, "the path as it is below the staging directory, once"
    assert done.stdout.startswith("README by process")


@pytest.mark.skipif(os.getuid() != 0, reason="becoming somebody else needs root")
def test_other_users_write_where_permissions_allow(
    folders: Folders, mountpoint: Path, repository: Repository, staging: Staging, tmp_path: Path
) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path != Path("/tmp") and not os.stat(path).st_mode & 0o001:
            path.chmod(os.stat(path).st_mode | 0o011)
    api.mount(folders, str(mountpoint), options=MountOptions(allow_other=True))
    staged = attach(folders, repository, staging)
    os.chmod(staged / "images", 0o777)

    def as_nobody(script: str) -> int:
        return subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script], check=False
        ).returncode

    assert as_nobody(f"grep -q hello {staged}/README") == 0
    assert as_nobody(f"echo mine > {staged}/images/mine") == 0
    assert os.stat(staged / "images" / "mine").st_uid == 65534
    assert as_nobody(f"echo no > {staged}/README 2>/dev/null") != 0
    assert as_nobody(f"ls {os.fsdecode(staging.upper)} >/dev/null 2>&1") != 0


def test_an_overlay_that_is_mounted_anew_during_a_commit_is_frozen_until_it_ends(
    folders: Folders, staged: Path, staging: Staging, repository: Repository
) -> None:
    (staged / "a").write_text("a")
    before = [info.pid for info in iter_live(folders) if info.kind in {"staging", "lower"}]
    assert len(before) == 2
    with freezing(staging.layout):
        with MountFreezer(folders, repository.id).freeze(staging) as verify:
            assert verify is not None
            verify()
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: any(i.kind == "staging" and i.pid not in before for i in iter_live(folders)))
            wait_until(lambda: errno_of((staged / "README").read_text) is None)
            assert errno_of(lambda: (staged / "a").write_text("b")) == errno.EROFS
            with pytest.raises(BusyError, match="ended during the commit"):
                verify()
        assert errno_of(lambda: (staged / "a").write_text("b")) == errno.EROFS
    wait_until(lambda: errno_of(lambda: (staged / "a").write_text("b")) is None)
    assert (staged / "a").read_text() == "b"
