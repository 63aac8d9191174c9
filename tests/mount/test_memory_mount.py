"""The read-only transport over a view out of memory: what reaches programs, and what errors become."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from artifactfs.errors import BusyError, MountError
from artifactfs.mount import api
from artifactfs.mount.control import find_client
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.options import MountInfo, MountOptions
from tests.mount.conftest import Folders, errno_of, wait_until
from tests.mount.memory_view import SAMPLE, TIME_NS

pytestmark = pytest.mark.mounted


def root_of(mount: MountInfo) -> bytes:
    return os.fsencode(mount.mountpoint)


def test_all_names_are_listed_and_read(memory_mount: MountInfo) -> None:
    root = root_of(memory_mount)
    assert set(os.listdir(root)) == set(SAMPLE)
    for name in (b"README", b"not-\xff-utf8", "größe".encode(), b"new\nline", b"empty"):
        with open(root + b"/" + name, "rb") as file:
            assert file.read() == SAMPLE[name]


def test_attributes(memory_mount: MountInfo) -> None:
    found = os.lstat(root_of(memory_mount) + b"/README")
    assert (found.st_size, found.st_mtime_ns, found.st_nlink) == (6, TIME_NS, 1)
    assert stat.S_IMODE(found.st_mode) == 0o644
    assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())
    with os.scandir(root_of(memory_mount)) as entries:
        numbers = {entry.name: entry.inode() for entry in entries}
    assert numbers[b"README"] == found.st_ino


def test_links(memory_mount: MountInfo) -> None:
    root = root_of(memory_mount)
    assert os.readlink(root + b"/dangling") == b"nowhere/at all"
    assert Path(os.fsdecode(root), "link").read_bytes() == b"hello\n"


def test_ranges_equal_slices(memory_mount: MountInfo) -> None:
    content = SAMPLE[b"images"][b"cat.png"]
    with open(root_of(memory_mount) + b"/images/cat.png", "rb") as file:
        for offset, size in [(0, 1), (131071, 2), (len(content) - 5, 100), (len(content), 10), (500_000, 300_000)]:
            assert os.pread(file.fileno(), size, offset) == content[offset : offset + size]


def test_a_large_directory_is_listed_whole(memory_mount: MountInfo) -> None:
    names = os.listdir(root_of(memory_mount) + b"/many")
    assert len(names) == 1000
    assert set(names) == set(SAMPLE[b"many"])


@pytest.mark.parametrize("path", [b"/none", b"/images/none", b"/none/none", b"/README/none"])
def test_missing_names(memory_mount: MountInfo, path: bytes) -> None:
    assert errno_of(lambda: os.stat(root_of(memory_mount) + path)) in (errno.ENOENT, errno.ENOTDIR)


@pytest.mark.parametrize("path", ["README", "none", "images"])
def test_every_change_is_refused_as_read_only(memory_mount: MountInfo, path: str) -> None:
    target = os.path.join(memory_mount.mountpoint, path)
    changes = [
        lambda: os.open(target, os.O_WRONLY | os.O_CREAT),
        lambda: os.mkdir(target + "x"),
        lambda: os.rename(target, target + "y"),
        lambda: os.symlink("a", target + "z"),
        lambda: os.chmod(os.path.dirname(target), 0o700),
        lambda: os.utime(os.path.dirname(target)),
    ]
    for change in changes:
        assert errno_of(change) in (errno.EROFS, errno.EISDIR, errno.ENOENT)
    assert errno_of(lambda: os.mkdir(target + "x")) == errno.EROFS


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("damaged", errno.EIO),
        ("bug", errno.EIO),
        ("no-errno", errno.EIO),
        ("exits", errno.EIO),
        ("stale", errno.ESTALE),
    ],
)
def test_errors_become_errno_and_the_server_lives(memory_mount: MountInfo, name: str, number: int) -> None:
    assert errno_of(Path(memory_mount.mountpoint, "faults", name).read_bytes) == number
    assert Path(memory_mount.mountpoint, "README").read_bytes() == b"hello\n"


def test_damage_is_named_in_the_log(memory_mount: MountInfo) -> None:
    assert errno_of(Path(memory_mount.mountpoint, "faults", "damaged").read_bytes) == errno.EIO
    log = Path(memory_mount.log).read_text()
    assert "sha256:abc does not match" in log
    assert "faults/damaged" in log


def test_extended_attributes(memory_mount: MountInfo) -> None:
    path = os.path.join(memory_mount.mountpoint, "README")
    assert os.listxattr(path) == ["user.artifactfs.digest"]
    assert os.getxattr(path, "user.artifactfs.digest").startswith(b"sha256:")
    numbers = [
        errno_of(partial(os.getxattr, path, name)) for name in ("user.none", "security.capability", "user.artifactfs.x")
    ]
    assert numbers == [errno.ENODATA] * 3


def test_statfs(memory_mount: MountInfo) -> None:
    assert os.statvfs(memory_mount.mountpoint).f_blocks == os.statvfs("/").f_blocks


def test_the_mount_table(memory_mount: MountInfo) -> None:
    line = find_mount(memory_mount.mountpoint)
    assert line is not None
    assert (line.fstype, line.source) == ("fuse.artifactfs", "artifactfs")
    text = Path("/proc/self/mounts").read_text()
    options = next(entry for entry in text.splitlines() if memory_mount.mountpoint in entry).split()[3].split(",")
    assert {"ro", "nosuid", "nodev", "default_permissions", "max_read=131072"} <= set(options)


def test_a_program_runs_from_the_mount(memory_mount: MountInfo) -> None:
    done = subprocess.run([memory_mount.mountpoint + "/run.sh", "well"], capture_output=True, check=True)
    assert done.stdout == b"ran well\n"


def test_owner_is_chosen(folders: Folders, mountpoint: Path, memory_server: None) -> None:
    api.mount(folders, str(mountpoint), options=MountOptions(uid=1234, gid=4321))
    found = os.stat(mountpoint / "README")
    assert (found.st_uid, found.st_gid) == (1234, 4321)


def test_it_is_registered_and_gone_after_umount(folders: Folders, memory_mount: MountInfo) -> None:
    assert [info.mountpoint for info in api.iter_mounts(folders)] == [memory_mount.mountpoint]
    assert stat.S_IMODE(os.stat(memory_mount.socket).st_mode) == 0o600
    api.unmount(folders, memory_mount.mountpoint)
    assert list(api.iter_mounts(folders)) == []
    assert not os.path.exists(memory_mount.socket)
    assert os.listdir(memory_mount.mountpoint) == []


def test_umount_names_who_uses_it(folders: Folders, memory_mount: MountInfo) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=memory_mount.mountpoint + "/images") as process:
        with pytest.raises(BusyError, match=rf"process {process.pid} \(cat\)"):
            api.unmount(folders, memory_mount.mountpoint)
        assert os.path.exists(memory_mount.mountpoint + "/README")
        api.unmount(folders, memory_mount.mountpoint, lazy=True)
        assert os.listdir(memory_mount.mountpoint) == []
        process.communicate()
    wait_until(lambda: not os.path.exists(memory_mount.socket))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts(folders: Folders, memory_mount: MountInfo, number: int) -> None:
    os.kill(memory_mount.pid, number)
    wait_until(lambda: find_mount(memory_mount.mountpoint) is None)
    wait_until(lambda: not os.path.exists(memory_mount.socket))
    assert "unmounted" in Path(memory_mount.log).read_text()


def test_a_terminal_that_goes_away_does_not_matter(memory_mount: MountInfo) -> None:
    os.kill(memory_mount.pid, signal.SIGHUP)
    assert Path(memory_mount.mountpoint, "images", "deep", "deeper", "file").read_bytes() == b"deep"


def test_a_killed_server_is_cleared_and_mounted_again(folders: Folders, memory_mount: MountInfo) -> None:
    os.kill(memory_mount.pid, signal.SIGKILL)
    wait_until(lambda: api.unmounting.is_dead(memory_mount.mountpoint))
    wait_until(lambda: list(api.iter_mounts(folders)) == [])
    again = api.mount(folders, memory_mount.mountpoint, options=MountOptions())
    assert again.pid != memory_mount.pid
    assert Path(again.mountpoint, "README").read_bytes() == b"hello\n"
    lines = [line for line in Path("/proc/self/mounts").read_text().splitlines() if again.mountpoint in line]
    assert len(lines) == 1


def test_a_killed_server_can_be_unmounted(folders: Folders, memory_mount: MountInfo) -> None:
    os.kill(memory_mount.pid, signal.SIGKILL)
    wait_until(lambda: api.unmounting.is_dead(memory_mount.mountpoint))
    api.unmount(folders, memory_mount.mountpoint)
    assert os.listdir(memory_mount.mountpoint) == []


def test_the_server_is_nobodys_child_and_has_no_terminal(memory_mount: MountInfo) -> None:
    fields = Path(f"/proc/{memory_mount.pid}/stat").read_text().rpartition(")")[2].split()
    parent, session, terminal = int(fields[1]), int(fields[3]), int(fields[4])
    assert parent != os.getpid()
    assert session != os.getsid(0)
    assert terminal == 0


def test_foreground_serves_in_the_process_itself(folders: Folders, mountpoint: Path, memory_server: None) -> None:
    script = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "from artifactfs.mount import api, launch\n"
        "from artifactfs.mount.options import MountOptions\n"
        "from tests.mount.conftest import Folders, SERVER\n"
        "launch.command_for = lambda order: [sys.executable, str(SERVER), order.encode()]\n"
        "api.mount(Folders(*sys.argv[3:]), sys.argv[2], options=MountOptions(foreground=True))\n"
    )
    top = str(Path(__file__).parent.parent.parent)
    places = [folders.repository, folders.state, folders.cache, folders.runtime]
    with subprocess.Popen([sys.executable, "-c", script, top, str(mountpoint), *places]) as process:
        try:
            wait_until(lambda: any(info.pid == process.pid for info in api.iter_mounts(folders)))
            assert (mountpoint / "README").read_bytes() == b"hello\n"
        finally:
            process.terminate()
        assert process.wait(20) == 0
    assert os.listdir(mountpoint) == []


def read_counts(mount: MountInfo) -> dict[str, int]:
    """Return how often the server was asked what since the last time.

    A single GETATTR does not count: whoever looks at all mounts of the machine asks for the top, as prunes do.
    """
    client = find_client(mount.socket)
    assert client is not None
    with client:
        counts: dict[str, int] = client.ask("counts")["counts"]
    return {kind: count for kind, count in counts.items() if (kind, count) != ("getattr", 1)}


def test_what_the_kernel_asks(memory_mount: MountInfo) -> None:
    """Request counts, as exact as they can be: time depends on the machine, these do not."""
    folder = Path(memory_mount.mountpoint, "many")
    names = sorted(os.listdir(folder))
    read_counts(memory_mount)

    for name in names:
        os.stat(folder / name)
    assert read_counts(memory_mount) in ({"getattr": 1000}, {"getattr": 1001})

    for name in names:
        (folder / name).read_bytes()
    first = read_counts(memory_mount)
    assert first.pop("open") == 1
    assert first == {"read": 1000}

    for name in names:
        os.stat(folder / name)
        (folder / name).read_bytes()
    assert read_counts(memory_mount) == {}

    assert sorted(os.listdir(folder)) == names
    assert read_counts(memory_mount) == {"opendir": 1, "readdir": 1}


def test_it_drains_before_it_ends(memory_mount: MountInfo) -> None:
    """Readers get all of a file or an error that says the mount is gone, never something else."""
    path = Path(memory_mount.mountpoint, "images", "cat.png")
    content = SAMPLE[b"images"][b"cat.png"]
    seen: list[bytes | int | None] = []

    def read_until_gone() -> None:
        while not seen or seen[-1] == content:
            try:
                with open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    seen.append(file.read())
            except OSError as error:
                seen.append(error.errno)

    readers = [threading.Thread(target=read_until_gone) for _ in range(4)]
    for reader in readers:
        reader.start()
    wait_until(lambda: len(seen) > 20)
    os.kill(memory_mount.pid, signal.SIGTERM)
    for reader in readers:
        reader.join(20)
    assert {value for value in seen if value != content} <= {errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT}
    wait_until(lambda: not os.path.exists(memory_mount.socket))


def test_two_at_once(folders: Folders, mountpoint: Path, memory_server: None) -> None:
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(api.mount, folders, str(mountpoint), options=MountOptions()) for _ in range(2)]
    failed = [error for call in calls if (error := call.exception()) is not None]
    assert len(failed) == 1
    assert isinstance(failed[0], MountError | BusyError)
    assert (mountpoint / "README").read_bytes() == b"hello\n"
    text = Path("/proc/self/mounts").read_text()
    assert text.count(f" {mountpoint} ") == 1


def test_already_mounted(folders: Folders, memory_mount: MountInfo) -> None:
    with pytest.raises(MountError, match="already mounted"):
        api.mount(folders, memory_mount.mountpoint, options=MountOptions())
