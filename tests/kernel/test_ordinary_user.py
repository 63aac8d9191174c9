"""Mounts of an ordinary user, made by fusermount3: by root, in a mount name space where /dev/fuse is open to all."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.mount.syscalls import may_mount

from .killing import needs_resend

NOBODY = 65534
FUSE = os.makedev(10, 229)
PROGRAM = Path(__file__).with_name("ordinary_user.py")
missing = [name for name in ("unshare", "setpriv", "fusermount3") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.mounted,
    needs_resend,
    pytest.mark.skipif(os.getuid() != 0 or not may_mount(), reason="becoming somebody else needs root"),
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that others can reach, as that of pytest cannot."""
    with tempfile.TemporaryDirectory(prefix="artifactfs-test-") as name:
        os.chmod(name, 0o755)
        home = Path(name, "home")
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        os.mknod(Path(name, "fuse"), 0o666 | stat.S_IFCHR, FUSE)
        os.chmod(Path(name, "fuse"), 0o666)
        yield Path(name)


def test_an_ordinary_user_mounts_by_fusermount3(folder: Path) -> None:
    # The one right that is left is to find the interpreter, which may lie in root's home.
    become = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups"
    rights = "--inh-caps=-all,+dac_read_search --ambient-caps=+dac_read_search"
    script = f'mount --bind "$1" /dev/fuse && shift && exec {become} {rights} "$@"'
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", folder / "fuse"]
    done = subprocess.run(
        [*command, sys.executable, PROGRAM, folder / "home"],
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[2]), "HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
