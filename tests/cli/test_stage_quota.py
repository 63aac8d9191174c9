"""`stage --quota` of a staging directory that exists: as the hint of a commit says, and while it is mounted."""

from __future__ import annotations

import errno
import json
import shlex
from pathlib import Path

import pytest

from artifactfs.mount.overlay.mounting import may_overlay
from tests.cli.support import Cli, run
from tests.cli.test_mounted import mounted, text

__all__ = ["mounted"]

KIB = 1024


def write(path: Path, size: int) -> int | None:
    """Write a file; return the errno with which that fails."""
    try:
        path.write_bytes(b"x" * size)
    except OSError as error:
        return error.errno
    return None


@pytest.mark.mounted
def test_a_union_keeps_another_quota_at_once(mounted: Path) -> None:
    top = Path(text("stage", "animals", "--driver", "union", "--name", "q").strip())
    assert write(top / "first", 300 * KIB) is None
    assert text("stage", "animals", "--name", "q", "--quota", "400K") == f"{top}\n"
    assert write(top / "second", 200 * KIB) == errno.EDQUOT
    text("stage", "animals", "--name", "q", "--quota", "1M")
    assert write(top / "second", 200 * KIB) is None
    assert "of 1.0 MiB used, kept by the union driver" in run("status", "animals:@q").stderr.decode()
    done = run("stage", "animals", "--name", "q", "--quota", "100K")
    assert (done.returncode, b"more than the quota" in done.stderr) == (0, True)
    assert write(top / "third", 1) == errno.EDQUOT
    done = run("stage", "animals", "--name", "q", "--quota", "none")
    assert b"no quota now" in done.stderr
    assert write(top / "third", 2000 * KIB) is None
    assert json.loads(text("status", "animals:@q", "--json"))["quota"] is None
    text("stage", "animals", "--name", "q", "--quota", "4M")
    text("umount", str(mounted))
    assert text("mount", str(mounted)) == f"{mounted}\n"
    assert write(top / "fourth", 3000 * KIB) == errno.EDQUOT


@pytest.mark.mounted
@pytest.mark.skipif(not may_overlay(), reason="needs CAP_SYS_ADMIN in the initial user namespace")
def test_what_a_commit_advises_helps(mounted: Path) -> None:
    top = Path(text("stage", "animals", "--driver", "overlay", "--name", "q", "--quota", "100K").strip())
    done = run("status", "animals:@q")
    if b"kept by the file system" in done.stderr:
        pytest.skip("the file system keeps it")
    assert write(top / "first", 300 * KIB) is None
    done = run("commit", "animals:@q")
    assert done.returncode == 50, done.stderr
    hint = done.stderr.decode().rpartition("artifactfs stage ")[2].replace("SIZE", "1M")
    done = run("stage", *shlex.split(hint))
    assert done.returncode == 0, done.stderr
    assert b"not enforced here" in done.stderr
    assert text("commit", "animals:@q") == "animals:v2\n"


def test_what_asks_for_more_than_a_quota_is_another_one(animals: Cli) -> None:
    animals("stage", "animals", "--quota", "1M")
    for more in (["animals:v0"], ["animals", "--driver", "union"]):
        assert "already" in animals("stage", *more, "--quota", "2M", code=14).stderr
    animals("stage", "animals", "--quota", "nothing", code=4)
    assert animals.json("stage", "animals", "--quota", "2M")["quota"] == 2 << 20
    assert animals.json("status", "animals")["quota"] == 2 << 20
