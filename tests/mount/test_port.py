"""The socket in a mount: what somebody can do who sees nothing but the mount, and what nobody can."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from artifactfs.errors import BusyError
from artifactfs.mount import api
from artifactfs.mount.control import encode_error, encode_line
from artifactfs.mount.mountinfo import find_mount, read_mounts
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.port import place
from artifactfs.mount.port.asking import find_port
from artifactfs.mount.port.listening import PROCESS_LIMIT
from artifactfs.mount.registry import iter_live, port_folder
from artifactfs.mount.sockets import bind_socket, connect_socket
from artifactfs.mount.syscalls import may_mount
from artifactfs.repository import changes
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.runs.events import Circumstances
from artifactfs.runs.history import RunLog
from artifactfs.runs.processes import describe_process
from artifactfs.runs.state import RunState
from tests.mount.conftest import Folders, errno_of, wait_until

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(not may_mount() or os.getuid() != 0, reason="needs root that may mount"),
]

COMMAND = Path(sys.executable).parent / "artifactfs"
PROJECT = Path(__file__).parent.parent.parent
OTHER = "54321"
CLEARED = f"-i HOME=/nowhere PATH={os.environ['PATH']}"
"""As runtimes of containers clear the environment."""
# A root directory with the programs and the mount at /data, and nothing else: no repository, no state, no runtime.
ENTER = """
set -e
root=$1 mount=$2 user=$3; shift 3
mount -t tmpfs none "$root"
for folder in /usr /bin /lib /lib64 %(folders)s; do
    if [ -e "$folder" ]; then mkdir -p "$root$folder"; mount --rbind "$folder" "$root$folder"; fi
done
mkdir -p "$root/proc" "$root/data" "$root/old" "$root/etc" "$root/tmp"
mkdir "$root/dev"; touch "$root/dev/null"; mount --bind /dev/null "$root/dev/null"
mount -t proc proc "$root/proc"
mount --rbind --make-rslave "$mount" "$root/data"
cd "$root"
pivot_root . old
umount -l old
cd /data
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
"""


@pytest.fixture
def mounted(folders: Folders, repository: Repository, mountpoint: Path, transport: str) -> MountInfo:
    options = MountOptions(author="tester", transport=transport, allow_other=True)
    return api.mount(folders, str(mountpoint), options=options)


@pytest.fixture
def staging(folders: Folders, mounted: MountInfo, repository: Repository) -> Staging:
    version = repository.get_collection("animals").versions[0]
    staging = StagingArea(repository).create("animals", version=version, followed="latest")
    api.attach_staging(folders, repository, staging=staging)
    return staging


@pytest.fixture
def top(mounted: MountInfo, staging: Staging) -> Path:
    return Path(mounted.mountpoint, "animals", "@staging")


def inside(
    tmp_path: Path, top: Path, *arguments: str, user: str = "0", at: str = "/data/animals/@staging"
) -> subprocess.CompletedProcess[str]:
    """Run a command where the mount is all that there is, in name spaces of its own."""
    root = tmp_path / "container"
    root.mkdir(exist_ok=True)
    folders = {str(PROJECT), str(Path(sys.executable).parent.parent), sys.base_prefix}
    script = ENTER % {"folders": " ".join(sorted(folders))}
    command = ["unshare", "--mount", "--pid", "--fork", "--propagation", "slave", "sh", "-c", script, "sh"]
    step = ["sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", at]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    return subprocess.run(
        [*command, str(root), str(top.parent.parent), user, *step, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )


def in_run(
    tmp_path: Path,
    folders: Folders,
    mounted: MountInfo,
    *arguments: str,
    options: tuple[str, ...] = (),
    words: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command as `inside` does, in a program of `artifactfs run`, and that with the words of `env`."""
    root = tmp_path / "container"
    root.mkdir(exist_ok=True)
    shown = {str(PROJECT), str(Path(sys.executable).parent.parent), sys.base_prefix}
    step = ["env", *words.split(), "unshare", "--mount", "--pid", "--fork", "--propagation", "slave", "sh", "-c"]
    script = ENTER % {"folders": " ".join(sorted(shown))}
    places = {f"ARTIFACTFS_{name.upper()}": getattr(folders, name) for name in ("state", "runtime", "cache")}
    return subprocess.run(
        [
            str(COMMAND), "--repo", folders.repository, "run", *options, "--",
            *step, script, "sh", str(root), mounted.mountpoint, "0", *arguments,
        ],
        capture_output=True, text=True, check=False, env={**os.environ, **places}, timeout=60,
    )  # fmt: skip


def runs_of(repository: Repository) -> list[RunState]:
    return list(RunLog(repository.store, clock=repository.clock, random=os.urandom).iter_runs())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), CLEARED),
        pytest.param((), "", marks=pytest.mark.slow),
        pytest.param(("--no-bind",), CLEARED, marks=pytest.mark.slow),
    ],
)
def test_what_a_container_of_a_run_commits_is_an_output_of_the_run(
    tmp_path: Path,
    folders: Folders,
    mounted: MountInfo,
    repository: Repository,
    top: Path,
    options: tuple[str, ...],
    words: str,
) -> None:
    (top / "new.txt").write_text("new")
    commit = (str(COMMAND), "commit", "animals:@staging")
    done = in_run(tmp_path, folders, mounted, *commit, options=options, words=words)
    assert done.returncode == 0, done.stderr
    assert "not recorded" not in done.stderr or mounted.transport != "kernel"
    (run,) = runs_of(repository)
    version = repository.load_state("animals").versions[1]
    assert (version.run, version.inputs) == (run.id, ("animals:v0",))
    assert (run.inputs, run.outputs) == (("animals:v0",), ("animals:v1",))


@pytest.mark.slow
def test_a_run_that_a_container_only_claims_is_not_recorded(
    tmp_path: Path, folders: Folders, mounted: MountInfo, repository: Repository, top: Path
) -> None:
    runs = RunLog(repository.store, clock=repository.clock, random=os.urandom)
    process = describe_process(host="far", user="bob", pid=mounted.pid)
    other = runs.start(author="x", circumstances=Circumstances(process=process)).run
    ended = runs.start(author="x").run
    runs.finish(ended, exit_code=0)
    os.chown(top, 0, int(OTHER))
    top.chmod(0o775)
    for run, user, reason in (
        (other, OTHER, "it is of the user bob"),
        (ended, "0", "it has ended"),
        ("nonsense", "0", "it is not the id of a run"),
        ("01a20a51-331d-7f0e-b627-4f61c62f1334", "0", "there is no run"),
    ):
        done = inside(tmp_path, top, "env", f"ARTIFACTFS_RUN={run}", str(COMMAND), "commit", user=user)
        assert done.returncode == 0, done.stderr
        assert f"that the version was made in the run {run} is not recorded: {reason}" in done.stderr
    assert [version.run for version in repository.load_state("animals").versions.values()] == [None] * 5
    assert all(run.outputs == () for run in runs.iter_runs())


def test_commit_where_only_the_mount_is_seen(tmp_path: Path, repository: Repository, top: Path) -> None:
    done = inside(tmp_path, top, "sh", "-c", f"test ! -e {repository.location} && echo from inside > new.txt")
    assert done.returncode == 0, done.stderr
    done = inside(tmp_path, top, str(COMMAND), "status", "--json")
    assert done.returncode == 0, done.stderr
    assert [(each["change"], each["path"]) for each in json.loads(done.stdout)["changes"]] == [("added", "new.txt")]
    arguments = ("-m", "made inside", "--alias", "best", "--metadata", "n=3", "--tag", "t", "--json")
    done = inside(tmp_path, top, str(COMMAND), "commit", *arguments)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    state = repository.load_state("animals")
    version = state.versions[1]
    assert (said["ref"], said["digest"], said["message"]) == ("animals:v1", version.root.tree, "made inside")
    assert (version.metadata, version.tags, version.author, version.base) == ({"n": 3}, ("t",), "tester", 0)
    assert state.aliases == {"latest": 1, "best": 1}
    assert (top.parent / "v1" / "new.txt").read_text() == "from inside\n"
    assert inside(tmp_path, top, str(COMMAND), "diff", "--exit-code", "animals:@staging", at="/").returncode == 0


@pytest.mark.parametrize("command", [["commit"], ["discard", "--yes"], ["commit", "--close"]])
def test_whoever_may_not_write_the_root_may_not(
    tmp_path: Path, repository: Repository, top: Path, command: list[str]
) -> None:
    (top / "new.txt").write_text("new")
    done = inside(tmp_path, top, str(COMMAND), *command, user=OTHER)
    assert (done.returncode, done.stdout) == (42, ""), done.stderr
    assert "may not" in done.stderr
    assert list(repository.load_state("animals").versions) == [0]
    assert "new.txt" in inside(tmp_path, top, str(COMMAND), "status", user=OTHER).stdout
    top.chmod(0o700)
    assert inside(tmp_path, top, str(COMMAND), "status", "animals", user=OTHER, at="/data").returncode == 42


def test_who_may_write_the_root_commits_under_a_name_that_cannot_be_forged(
    tmp_path: Path, repository: Repository, top: Path
) -> None:
    os.chown(top, 0, int(OTHER))
    top.chmod(0o775)
    forged = ["env", "ARTIFACTFS_AUTHOR=root", str(COMMAND), "commit", "animals:@staging"]
    done = inside(tmp_path, top, "sh", "-c", "echo x > x; " + " ".join(forged), user=OTHER)
    assert done.returncode == 0, done.stderr
    assert repository.load_state("animals").versions[1].author == f"{OTHER}@{os.uname().nodename}"
    # Writing is not owning: ending it is the owner's.
    assert inside(tmp_path, top, str(COMMAND), "commit", "--close", user=OTHER).returncode == 42


def test_root_of_a_user_namespace_is_the_user_that_it_is_outside(
    tmp_path: Path, repository: Repository, top: Path
) -> None:
    who = "import os; print(os.getuid())"
    if inside(tmp_path, top, "unshare", "-Ur", sys.executable, "-c", who, user=OTHER).stdout.strip() != "0":
        pytest.skip("user namespaces are not allowed here")
    done = inside(tmp_path, top, "unshare", "-Ur", str(COMMAND), "commit", user=OTHER)
    assert done.returncode == 42
    assert list(repository.load_state("animals").versions) == [0]


def test_open_writers_are_named_and_waited_for(tmp_path: Path, repository: Repository, top: Path) -> None:
    busy = top / "busy"
    with busy.open("w") as file:
        file.write("half")
        done = inside(tmp_path, top, str(COMMAND), "commit")
        assert done.returncode == 21
        assert "busy" in done.stderr
        assert str(os.getpid()) in done.stderr
    assert inside(tmp_path, top, str(COMMAND), "commit", "--wait").returncode == 0


def test_discard_and_close_end_it(tmp_path: Path, folders: Folders, repository: Repository, top: Path) -> None:
    (top / "new").write_text("new")
    done = inside(tmp_path, top, str(COMMAND), "discard", "animals:@staging", at="/data")
    assert done.returncode == 2
    assert "1 uncommitted change" in done.stderr
    # What is unmounted outside does not go on in here: what a bind of the parent directory with rslave does by itself.
    leave = 'umount "/data/animals/@staging"; exec "$@"'
    closing = (str(COMMAND), "commit", "animals:@staging", "--close")
    done = inside(tmp_path, top, "sh", "-c", leave, "sh", *closing, at="/data")
    assert done.returncode == 0, done.stderr
    assert list(StagingArea(repository).iter_all()) == []
    assert not top.exists()


def test_lines_are_compared_where_only_the_mount_is_seen(tmp_path: Path, top: Path) -> None:
    (top / "README").write_text("hello\nworld\n")
    (top / "run.sh").unlink()
    (top / "link").unlink()
    (top / "link").symlink_to("run.sh")
    (top / "big").write_bytes(b"x\0y")
    done = inside(tmp_path, top, str(COMMAND), "diff", "--lines", "animals:@staging", at="/data")
    assert done.returncode == 0, done.stderr
    assert "@@ -1 +1,2 @@\n hello\n+world\n" in done.stdout
    assert "--- a/run.sh\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-#!/bin/sh\n-echo ran $1\n" in done.stdout
    assert "-README\n\\ No newline at end of file\n+run.sh\n" in done.stdout
    assert "Binary files a/big and b/big differ\n" in done.stdout


def test_restoring_where_only_the_mount_is_seen(tmp_path: Path, top: Path) -> None:
    before = os.stat(top / "images" / "deep" / "deeper" / "file")
    shutil.rmtree(top / "images")
    (top / "README").unlink()
    (top / "README").mkdir()
    (top / "link").unlink()
    (top / "run.sh").chmod(0o600)
    (top / "added").write_text("added")
    (top / "stays").write_text("stays")
    paths = ("images", "README", "link", "run.sh", "added")
    done = inside(tmp_path, top, str(COMMAND), "restore", "animals:@staging", *paths, at="/data")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "removed added"
    after = os.stat(top / "images" / "deep" / "deeper" / "file")
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert inside(tmp_path, top, str(COMMAND), "status").stdout == "A  stays\n"
    assert inside(tmp_path, top, str(COMMAND), "restore", "animals", "nowhere", at="/data").returncode == 13


def test_paths_are_those_of_the_working_directory_in_there(tmp_path: Path, top: Path) -> None:
    (top / "images" / "cat.png").unlink()
    (top / "README").unlink()
    (top / "added").touch()
    at = "/data/animals/@staging/images"
    assert inside(tmp_path, top, str(COMMAND), "diff", ".", at=at).stdout == "D  images/cat.png\n"
    assert inside(tmp_path, top, str(COMMAND), "diff", "../added", "--sizes", at=at).stdout == "A  added  (- -> 0 B)\n"
    done = inside(tmp_path, top, str(COMMAND), "restore", "cat.png", "../added", at=at)
    assert (done.returncode, done.stderr) == (0, "restored images/cat.png\nremoved added\n")
    assert inside(tmp_path, top, str(COMMAND), "restore", "../../v0", at=at).returncode == 15
    assert inside(tmp_path, top, str(COMMAND), "restore", "animals", "README", at=at).returncode == 0
    assert inside(tmp_path, top, str(COMMAND), "diff", "--exit-code", at=at).returncode == 0


def test_a_commit_takes_away_what_killed_restores_have_left(
    tmp_path: Path, top: Path, repository: Repository, folders: Folders
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    left = [top / f".artifactfs-restoring-{OTHER}", top / "images" / ".artifactfs-restoring-0"]
    for folder in left:
        (folder / "new" / "deep").mkdir(parents=True)
        (folder / "new" / "deep" / "file").write_text("half")
        (folder / "new" / "link").symlink_to(outside)
        (folder / "new" / "deep").chmod(0o500)
        os.chown(folder, int(OTHER), int(OTHER))
    held, other = top / ".artifactfs-restoring-12345", top / ".artifactfs-restoring-mine"
    for folder in (held, other):
        folder.mkdir()
    (top / ".artifactfs-restoring-7").symlink_to(outside)
    (top / "new").write_text("new")
    descriptor = os.open(held, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = os.stat(top / "images").st_mtime_ns
        assert inside(tmp_path, top, str(COMMAND), "commit").returncode == 0
    finally:
        os.close(descriptor)
    assert [folder for folder in left if folder.exists()] == []
    assert held.exists()
    assert other.exists()
    assert os.listdir(outside) == ["precious"]
    assert os.stat(top / "images").st_mtime_ns == before
    shown = sorted(os.listdir(top.parent / "v1"))
    assert shown == sorted([*os.listdir(top.parent / "v0"), "new"])
    assert inside(tmp_path, top, str(COMMAND), "status").stdout == ""
    assert inside(tmp_path, top, str(COMMAND), "commit", "--if-changed").returncode == 0
    assert not held.exists()
    assert os.listdir(top.parent / "v1" / "images") == os.listdir(top.parent / "v0" / "images")


def test_a_link_on_the_way_in_the_version_leads_nowhere(tmp_path: Path, top: Path) -> None:
    (top / "new").symlink_to("images")
    assert inside(tmp_path, top, str(COMMAND), "commit").returncode == 0
    (top / "new").unlink()
    (top / "new").mkdir()
    done = inside(tmp_path, top, str(COMMAND), "restore", "animals", "new/cat.png", at="/data")
    assert done.returncode == 13, done.stderr
    assert not (top / "new" / "cat.png").exists()


@pytest.mark.parametrize("command", [["restore", "animals", "README"], ["diff", "--lines", "animals:@staging"]])
def test_a_version_that_is_not_shown_any_more_is_said(
    tmp_path: Path, top: Path, repository: Repository, command: list[str]
) -> None:
    (top / "README").write_text("changed\n")
    repository.append("animals", partial(changes.delete_version, number=0, force=True))
    wait_until(lambda: not (top.parent / "v0").exists())
    done = inside(tmp_path, top, str(COMMAND), *command, at="/data")
    assert done.returncode == 60, done.stderr
    assert "animals:v0" in done.stderr
    assert (top / "README").read_text() == "changed\n"


def test_the_socket_is_not_listed_and_cannot_be_replaced(mounted: MountInfo) -> None:
    top = Path(mounted.mountpoint)
    assert os.listdir(top) == ["animals"]
    wait_until(lambda: os.listdir(top / ".artifactfs") == ["socket"])  # the keeper begins when the mount answers
    for call in (
        (top / ".artifactfs" / "socket").unlink,
        (top / ".artifactfs" / "other").touch,
        lambda: os.rename(top / ".artifactfs" / "socket", top / ".artifactfs" / "x"),
    ):
        assert errno_of(call) == 30  # EROFS


def test_one_place_is_made_however_many_make_it_at_once(folders: Folders, tmp_path: Path) -> None:
    mountpoint, start = str(tmp_path / "mnt"), threading.Barrier(8)

    def make() -> None:
        start.wait()
        place.prepare(folders, mountpoint)

    for _ in range(10):
        makers = [threading.Thread(target=make) for _ in range(8)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
        folder = port_folder(folders, mountpoint)
        found = [line for line in read_mounts() if line.mountpoint == folder]
        for _ in found:
            place.remove(folders, mountpoint)
        assert len(found) == 1


@pytest.mark.parametrize("line", [b"", b"nothing\n", b"[]\n", b'{"do": "freeze"}\n', b"x" * 2_000_000])
def test_nonsense_is_answered_or_dropped(mounted: MountInfo, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connect_socket(connection, f"{mounted.mountpoint}/.artifactfs/socket")
        try:
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    assert not answer or "error" in json.loads(answer.splitlines()[-1])
    port = find_port(mounted.mountpoint)
    assert port is not None


def test_so_many_at_one_time_and_no_more(mounted: MountInfo, repository: Repository, staging: Staging) -> None:
    path = f"{mounted.mountpoint}/.artifactfs/socket"
    silent = [socket.socket(socket.AF_UNIX) for _ in range(PROCESS_LIMIT)]
    try:
        for each in silent:
            connect_socket(each, path)
        with socket.socket(socket.AF_UNIX) as one_more:
            one_more.settimeout(20)
            connect_socket(one_more, path)
            assert json.loads(one_more.recv(65536))["error"] == "BusyError"
    finally:
        for each in silent:
            each.close()
    port = find_port(mounted.mountpoint)
    assert port is not None
    wait_until(lambda: _answers(port))


def test_only_a_mounted_socket_is_asked(mounted: MountInfo, tmp_path: Path) -> None:
    """Anybody can make such a name in a directory that all may write, and wait for who works there."""
    planted = tmp_path / "shared"
    (planted / ".artifactfs").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        bind_socket(listening, str(planted / ".artifactfs" / "socket"))
        listening.listen()
        assert find_port(str(planted)) is None
    below = Path(mounted.mountpoint, "animals", "v0")
    wait_until(lambda: find_port(str(below)) == api.Port(mounted.mountpoint))


def test_who_refuses_and_goes_is_heard(tmp_path: Path) -> None:
    """Also when the request cannot be sent any more."""
    (tmp_path / ".artifactfs").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        bind_socket(listening, str(tmp_path / ".artifactfs" / "socket"))
        listening.listen()
        port = api.Port(str(tmp_path))

        def refuse() -> None:
            for _ in range(20):
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(encode_line(encode_error(BusyError("too many"))))

        threading.Thread(target=refuse, daemon=True).start()
        for _ in range(20):
            with pytest.raises(BusyError, match="too many"):
                port.find_changes("animals", "staging")


def _answers(port: api.Port) -> bool:
    try:
        return port.find_changes("animals", "staging").changes == []
    except BusyError:
        return False


def test_it_comes_back_with_the_keeper_and_with_the_server(
    folders: Folders, mounted: MountInfo, repository: Repository, top: Path, transport: str
) -> None:
    port = find_port(str(top))
    assert port is not None
    if transport == "kernel":
        keeper = next(pid for pid in _children(mounted.pid) if Path(f"/proc/{pid}/comm").read_text() == "af-keeper\n")
        os.kill(keeper, signal.SIGKILL)
        assert port.find_changes("animals", "staging").changes == []
    device = _device(Path(mounted.mountpoint, ".artifactfs"))
    os.kill(mounted.pid, signal.SIGKILL)
    wait_until(lambda: all(info.pid != mounted.pid for info in iter_live(folders)))
    api.mount(folders, mounted.mountpoint, options=MountOptions(transport=transport, allow_other=True))
    assert _device(Path(mounted.mountpoint, ".artifactfs")) == device
    assert port.find_changes("animals", "staging").changes == []


def test_nothing_is_left_when_it_is_unmounted(folders: Folders, mounted: MountInfo) -> None:
    assert any(line.is_port for line in read_mounts())
    api.unmount(folders, mounted.mountpoint)
    assert [line for line in read_mounts() if line.is_port and line.mountpoint.startswith(folders.runtime)] == []
    assert os.listdir(os.path.join(folders.runtime, "p")) == []


def test_a_mount_that_is_in_use_keeps_it(folders: Folders, mounted: MountInfo) -> None:
    holder = subprocess.Popen(["sleep", "60"], cwd=mounted.mountpoint)
    try:
        with pytest.raises(BusyError):
            api.unmount(folders, mounted.mountpoint)
        assert find_mount(f"{mounted.mountpoint}/.artifactfs") is not None
        assert errno_of(lambda: Path(mounted.mountpoint, ".artifactfs", "x").touch()) == 30
    finally:
        holder.kill()
        holder.wait()


def _device(path: Path) -> str:
    line = find_mount(str(path))
    assert line is not None
    return line.device


def _children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
