"""The commands around mounts and staging directories, with real mounts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactfs.mount.mountinfo import read_mounts
from artifactfs.mount.mountpoint import is_dead
from artifactfs.mount.overlay.mounting import may_overlay
from tests.cli.support import PROGRAM, Cli, run
from tests.mount.conftest import wait_until

pytestmark = pytest.mark.mounted
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture
def mounted(animals: Cli, tmp_path: Path) -> Iterator[Path]:
    """Return a mount of the repository with the collection `animals`."""
    folder = tmp_path / "mnt"
    folder.mkdir()
    done = run("mount", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder}\n".encode()
    try:
        yield folder
    finally:
        run("umount", "--lazy", str(folder))


def text(*args: str, code: int = 0, **more: Any) -> str:
    """Return what the program prints, after its exit code was as expected."""
    done = run(*args, **more)
    assert done.returncode == code, done.stderr
    return done.stdout.decode()


def test_mount_shows_everything_until_umount(mounted: Path) -> None:
    assert sorted(os.listdir(mounted / "animals")) == ["best", "latest", "v0", "v1"]
    assert (mounted / "animals" / "best" / "cat.txt").read_text() == "cat, longer\n"
    assert text("mounts").startswith(f"{mounted}  all collections  ")
    text("umount", str(mounted))
    assert os.listdir(mounted) == []
    assert text("mounts") == ""


def test_mount_one_version_as_the_root(animals: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    text("mount", str(folder), "--artifact", "animels", code=10)
    text("mount", str(folder), "--artifact", "animals:v0")
    try:
        assert (folder / "cat.txt").read_text() == "cat\n"
    finally:
        text("umount", str(folder))


def test_mount_refuses_what_is_taken(mounted: Path, work: Path) -> None:
    text("mount", str(mounted), code=60)
    text("mount", str(work / "images"), code=60)


def test_what_is_removed_vanishes_from_the_mount(mounted: Path) -> None:
    text("alias", "set", "animals:v0", "old")
    assert (mounted / "animals" / "old" / "cat.txt").read_text() == "cat\n"
    text("alias", "rm", "animals", "old")
    assert not os.path.lexists(mounted / "animals" / "old")
    text("rm", "animals:v0", "--yes")
    assert not (mounted / "animals" / "v0").exists()


def test_stage_change_commit_and_discard(mounted: Path) -> None:
    staging = mounted / "animals" / "@staging"
    assert text("stage", "animals") == f"{staging}\n"
    text("stage", "animals", code=14)
    assert text("ls", "animals").splitlines()[-1] == "@staging"
    (staging / "new.txt").write_text("new\n")
    (staging / "link").unlink()
    for args in (["status", "animals"], ["diff", "animals:@staging"]):
        assert text(*args) == "D  link\nA  new.txt\n"
    assert text("status", cwd=staging / "sub") == "D  link\nA  new.txt\n"
    assert text("cat", "animals:@staging/new.txt") == "new\n"
    assert text("cat", "animals:@staging/cat.txt") == (staging / "cat.txt").read_text()
    assert text("ls", "animals:@staging").splitlines() == sorted(os.listdir(staging))
    assert "files:" in text("show", "animals:@staging")
    assert "new.txt" in text("show", "animals:@staging/new.txt")
    assert text("commit", "animals", "-m", "changed", "--expect-base") == "animals:v2\n"
    assert (mounted / "animals" / "latest" / "new.txt").read_text() == "new\n"
    assert text("status", "animals") == ""
    assert text("discard", "animals:@staging", "--yes") == ""
    assert not os.path.lexists(staging)
    text("status", "animals", code=13)


def test_a_new_name_starts_empty_and_closes(mounted: Path) -> None:
    path = Path(text("stage", "fresh", "--name", "here").strip())
    (path / "a").write_text("a")
    assert text("commit", "fresh:@here", "--close", "--type", "model") == "fresh:v0\n"
    assert sorted(os.listdir(mounted / "fresh")) == ["latest", "v0"]


def test_open_writers_stop_a_commit_and_are_named(mounted: Path) -> None:
    staging = Path(text("stage", "animals").strip())
    with subprocess.Popen(["sh", "-c", "exec 3>>cat.txt; echo; read line"], cwd=staging, **PIPES) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()
        done = run("commit", "animals")
        writer.stdin.close()
    assert done.returncode == 21
    assert b"cat.txt" in done.stderr
    assert str(writer.pid).encode() in done.stderr


@pytest.mark.skipif(not may_overlay(), reason="needs CAP_SYS_ADMIN in the initial user namespace")
def test_a_commit_does_not_name_itself_as_a_writer(mounted: Path) -> None:
    staging = Path(text("stage", "animals", "--driver", "overlay").strip())
    with (staging / "cat.txt").open("a") as file:
        done = run("commit", "animals", pass_fds=(file.fileno(),))
        assert done.returncode == 21
        assert f"cat.txt by process {os.getpid()} " in done.stderr.decode()
        assert done.stderr.count(b"by process") == 1
    command = ["sh", "-c", 'exec "$@" > "$0"', str(staging / "log"), *PROGRAM, "commit", "animals"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert b"log by this command itself" in done.stderr


def test_commit_waits_for_writers(mounted: Path) -> None:
    staging = Path(text("stage", "animals").strip())
    with subprocess.Popen(
        ["sh", "-c", "exec 3>>cat.txt; echo; read line; echo more >&3"], cwd=staging, **PIPES
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()
        with subprocess.Popen([*PROGRAM, "commit", "animals", "--wait"], **PIPES) as commit:
            assert commit.stderr is not None
            assert b"waiting" in commit.stderr.readline()
            writer.stdin.close()
            writer.wait(30)
            assert commit.communicate()[0] == b"animals:v2\n"
    assert text("cat", "animals:v2/cat.txt") == "cat, longer\nmore\n"


def test_a_commit_over_somebody_elses_version_warns_or_fails(mounted: Path) -> None:
    staging = Path(text("stage", "animals").strip())
    (staging / "a").write_text("a")
    text("put", "animals", "images")
    assert text("commit", "animals", "--expect-base", code=22) == ""
    done = run("commit", "animals")
    assert done.stdout == b"animals:v3\n"
    assert b"latest was v2 already" in done.stderr


def test_without_a_mount_stage_says_how_to_see_it(animals: Cli) -> None:
    done = run("stage", "animals")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"artifactfs mount" in done.stderr
    assert text("commit", "animals", "--if-changed") == "animals:v1\n"
    text("discard", "animals", "--yes")


def test_mounts_name_what_has_lost_its_server(animals: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    folder.mkdir()
    text("mount", str(folder), "--transport", "fusepy")
    try:
        (mount,) = json.loads(text("mounts", "--json"))["mounts"]
        os.kill(mount["pid"], signal.SIGKILL)
        wait_until(lambda: is_dead(str(folder)))
        done = run("mounts")
        assert (done.returncode, done.stdout) == (0, b"")
        assert f"{folder} has lost its server: `artifactfs umount {folder}`".encode() in done.stderr
        listed = json.loads(text("mounts", "--json"))
        assert listed["mounts"] == []
        assert [mount["mountpoint"] for mount in listed["dead"]] == [str(folder)]
        assert b"has lost its server" in run("mounts", str(folder)).stderr
    finally:
        text("umount", str(folder))
    assert run("mounts").stderr == b""
    assert not [line for line in read_mounts() if line.is_port and str(tmp_path) in line.mountpoint]
