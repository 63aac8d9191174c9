"""Staging directories of an ordinary user, from end to end by the command line: run by `test_ordinary_staging`.

ordinary_staging.py FOLDER     an empty directory of the user's
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artifactfs.mount.mountinfo import FSTYPE, find_mount
from artifactfs.mount.syscalls import may_mount
from tests.cli.support import PROGRAM

BUSY = 21


def run(*arguments: str, code: int = 0, cwd: Path | None = None) -> str:
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False, cwd=cwd, timeout=60)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def read_json(*arguments: str, cwd: Path | None = None) -> dict[str, Any]:
    found = json.loads(run(*arguments, "--json", cwd=cwd))
    assert isinstance(found, dict)
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.02)


def is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def check_differences(one: Path, other: Path) -> None:
    done = subprocess.run(["diff", "-r", "--no-dereference", one, other], capture_output=True, text=True, check=False)
    assert done.stdout == "", done.stdout


def begin(folder: Path) -> tuple[Path, Path]:
    """Mount, and stage; return the mount point and the staging directory."""
    tree, place = folder / "tree", folder / "mnt"
    (tree / "images").mkdir(parents=True)
    place.mkdir()
    (tree / "images" / "cat.txt").write_text("a cat\n")
    (tree / "images" / "closed.txt").write_text("closed\n")
    (tree / "images" / "closed.txt").chmod(0o400)
    (tree / "README").write_text("hello\n")
    run("put", "animals", f"{tree}/")
    run("mount", str(place))
    top = Path(run("stage", "animals").strip())
    assert top == place / "animals" / "@staging"
    line = find_mount(os.readlink(top))
    assert line is not None
    assert line.fstype == FSTYPE
    return place, top


def change(top: Path) -> None:
    """Change something in each way."""
    assert (top / "README").read_text() == "hello\n"
    (top / "README").write_text("other\n")
    (top / "images" / "closed.txt").chmod(0o600)
    (top / "images" / "closed.txt").write_text("opened\n")
    (top / "images" / "closed.txt").chmod(0o400)
    os.rename(top / "images", top / "pictures")
    os.symlink("README", top / "link")
    os.link(top / "README", top / "second")
    (top / "gone").write_text("gone\n")
    with open(top / "gone", "rb") as file:
        (top / "gone").chmod(0)
        (top / "gone").unlink()
        assert file.read() == b"gone\n"


def check_commit(place: Path, top: Path) -> None:
    lines = run("status", cwd=top).splitlines()
    assert "M  README" in lines, lines
    assert "R  images/cat.txt -> pictures/cat.txt" in lines, lines
    assert "A  pictures/closed.txt" in lines, lines
    with open(top / "open", "w", encoding="utf-8") as file:
        said = run("commit", code=BUSY, cwd=top)
        assert f"open by process {os.getpid()}" in said, said
        file.write("open\n")
    assert run("commit", "-m", "by an ordinary user", cwd=top).strip() == "animals:v1"
    check_differences(top / ".", place / "animals" / "v1")
    assert run("status", cwd=top) == ""
    assert (place / "animals" / "v1" / "pictures" / "closed.txt").stat().st_mode & 0o777 == 0o400


def check_killed(top: Path) -> None:
    (top / "kept").write_text("kept\n")
    (server,) = [info for info in read_json("mounts")["mounts"] if info["kind"] == "staging"]
    os.kill(server["pid"], signal.SIGKILL)
    wait_until(lambda: not is_readable(top / "kept") or _server() != server["pid"])
    wait_until(lambda: is_readable(top / "kept"))
    assert (top / "kept").read_text() == "kept\n"


def _server() -> int:
    return next((info["pid"] for info in read_json("mounts")["mounts"] if info["kind"] == "staging"), 0)


def check_restored(place: Path, top: Path) -> None:
    (top / "pictures" / "cat.txt").unlink()
    (top / "link").unlink()
    (top / "p").write_text("like a folder beside the staging directory's own mount\n")
    assert run("diff", "cat.txt", cwd=top / "pictures") == "D  pictures/cat.txt\n"
    run("restore", "cat.txt", cwd=top / "pictures")
    run("restore", "link", str(top / "kept"), cwd=top)
    assert run("status", cwd=top) == "A  p\n"
    run("put", "plants", str(place / "animals" / "v0" / "README"))
    assert run("diff", "plants", cwd=top) == run("diff", "plants")
    (top / "p").unlink()
    run("restore", "p", "second", code=13, cwd=top)
    assert run("status", cwd=top) == ""


def check_remounted(place: Path, top: Path) -> None:
    (top / "later").write_text("later\n")
    run("umount", str(place))
    assert not os.path.lexists(top)
    assert run("status", "animals") == "A  later\n"
    run("mount", str(place))
    assert (top / "later").read_text() == "later\n"


def _errno_of(call: Callable[[], object]) -> int | None:
    try:
        call()
    except OSError as error:
        return error.errno
    return None


def check_ended(top: Path) -> None:
    run("stage", "animals", "--name", "small", "--quota", "1M")
    small = top.parent / "@small"
    assert _errno_of(lambda: (small / "large").write_bytes(b"x" * (2 << 20))) == errno.EDQUOT
    run("discard", "animals:@small", "--yes")
    assert not os.path.lexists(small)
    assert run("commit", "animals", "--close").strip() == "animals:v2"
    assert not os.path.lexists(top)
    assert run("staging") == ""


def main(folder: Path) -> None:
    assert os.getuid() != 0
    assert not may_mount()
    place, top = begin(folder)
    try:
        change(top)
        check_commit(place, top)
        check_killed(top)
        check_restored(place, top)
        check_remounted(place, top)
        check_ended(top)
    finally:
        run("umount", str(place))
    assert [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line] == []


if __name__ == "__main__":
    main(Path(sys.argv[1]))
