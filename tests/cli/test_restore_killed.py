"""`restore` touches only what differs, and leaves nothing of its own when it is killed: with real mounts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import run
from tests.cli.test_mounted import mounted, text
from tests.cli.test_restore import staging

__all__ = ["mounted", "staging"]

pytestmark = pytest.mark.mounted

# Kills itself before the given change of the file system.
KILLED = """
import os, signal, sys
top, number = sys.argv[1], int(sys.argv[2])
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.utime", "os.symlink"}
def hook(event, args):
    global number
    if event not in CHANGES and not (event == "open" and args[2] & os.O_CREAT):
        return
    if isinstance(args[0], (int, bytes)) and (isinstance(args[0], int) or os.fsdecode(args[0]).startswith(top)):
        number -= 1
        if number < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
sys.argv[1:] = ["restore", "animals:@staging", "."]
from artifactfs_cli.main import main
main()
"""


def change(top: Path) -> None:
    """Change something in each way."""
    names = sorted(os.listdir(top / "sub"))
    (top / "sub" / names[0]).write_text("changed\n")
    for name in names[1:]:
        (top / "sub" / name).unlink()
    (top / "cat.txt").unlink()
    (top / "cat.txt").mkdir()
    (top / "cat.txt" / "inside").write_text("inside\n")
    (top / "link").unlink()
    (top / "new").mkdir()
    (top / "new" / "file").write_text("new\n")


def look(top: Path) -> dict[str, str]:
    """Return what is shown but for scratch: text or target by path."""
    found = {}
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(top))] = os.readlink(path) if path.is_symlink() else path.read_text()
    return {path: content for path, content in found.items() if not path.startswith(".artifactfs-restoring-")}


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(1, 4))])
def test_killed_at_each_step_it_leaves_what_was_or_is(staging: Path, first: int) -> None:
    base = look(staging)
    for number in range(first, 400, 4):
        text("restore", "animals:@staging", ".")
        change(staging)
        changed = look(staging)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(staging), str(number)], capture_output=True, check=False, timeout=60
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        now = look(staging)
        assert all(content in (base.get(path), changed.get(path)) for path, content in now.items())
        assert ".artifactfs" not in text("status", "animals")
        text("restore", "animals:@staging", ".")
        assert text("status", "animals") == ""
        assert look(staging) == base
        assert not [name for name in os.listdir(staging) if name.startswith(".artifactfs")]
        if not done.returncode:
            break
    assert number > 10


def test_what_a_killed_one_left_is_no_part_of_a_version_and_goes(staging: Path) -> None:
    left = staging / f".artifactfs-restoring-{os.getuid()}"
    left.mkdir()
    (left / "new").write_text("half")
    (staging / "kept").write_text("kept\n")
    assert text("status", "animals") == "A  kept\n"
    assert text("commit", "animals") == "animals:v2\n"
    assert text("diff", "animals:v1", "animals:v2") == "A  kept\n"
    assert not left.exists()


def test_only_what_differs_is_touched(staging: Path) -> None:
    names = sorted(os.listdir(staging / "sub"))
    for name in ("a", "b"):
        (staging / "sub" / name).write_text(name)
    text("commit", "animals")
    (staging / "sub" / "a").unlink()
    (staging / "sub" / "b").chmod(0o600)
    (staging / "sub" / "added").mkdir()
    before = {name: os.stat(staging / "sub" / name) for name in ("", "b", *names)}
    with subprocess.Popen(["sh", "-c", "read line; ls"], cwd=staging / "sub", stdin=-1, stdout=-1) as inside:
        text("restore", "animals", "sub")
        assert sorted(inside.communicate(b"\n")[0].decode().split()) == sorted([*names, "a", "b"])
    after = {name: os.stat(staging / "sub" / name) for name in before}
    for name, status in after.items():
        assert (status.st_ino, name != "b") == (before[name].st_ino, name != "b")
    for name in names:
        assert after[name].st_ctime_ns == before[name].st_ctime_ns
    assert text("status", "animals") == ""


def test_renamed_directories_come_back(staging: Path) -> None:
    base = look(staging)
    os.rename(staging / "sub", staging / "moved")
    name = os.listdir(staging / "moved")[0]
    text("restore", "animals", f"sub/{name}")
    assert os.listdir(staging / "sub") == [name]
    text("restore", "animals", f"moved/{name}")
    assert name not in os.listdir(staging / "moved")
    text("restore", "animals:@staging", ".")
    assert look(staging) == base
    assert not (staging / "moved").exists()
    shutil.rmtree(staging / "sub")
    (staging / "sub").symlink_to("/etc")
    text("restore", "animals", "sub")
    assert look(staging) == base
    assert run("status", "animals").stdout == b""
