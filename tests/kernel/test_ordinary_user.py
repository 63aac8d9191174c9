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

from artifactfs.mount.kernel.mounting import MountRequest, open_mount
from artifactfs.mount.syscalls import may_mount
from tests.cli.support import PROGRAM

from .killing import needs_resend
from .support import slurp

NOBODY = 65534
FUSE = os.makedev(10, 229)
SCRIPT = Path(__file__).with_name("ordinary_user.py")
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


def as_nobody(folder: Path, *command: str | Path, device: Path, descriptor: int | None = None) -> None:
    """Run a command as an ordinary user, for whom `device` is /dev/fuse; it must succeed."""
    # The one right that is left is to find the interpreter, which may lie in root's home.
    become = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups"
    rights = "--inh-caps=-all,+dac_read_search --ambient-caps=+dac_read_search"
    script = f'mount --bind "$1" /dev/fuse && shift && exec {become} {rights} "$@"'
    home = folder / "home"
    places = {f"ARTIFACTFS_{name}": str(home / name.lower()) for name in ("REPO", "STATE", "CACHE", "RUNTIME")}
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "slave", "sh", "-c", script, "sh", device, *command],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "HOME": str(home), **places},
        pass_fds=[] if descriptor is None else [descriptor],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_ordinary_user_mounts_by_fusermount3(folder: Path) -> None:
    as_nobody(folder, sys.executable, SCRIPT, folder / "home", device=folder / "fuse")


@pytest.mark.parametrize("lets_others_in", [True, False])
def test_an_ordinary_user_serves_what_root_mounted_without_the_device(folder: Path, *, lets_others_in: bool) -> None:
    closed, tree, place = folder / "closed", folder / "tree", folder / "mnt"
    closed.write_bytes(b"")
    closed.chmod(0o600)
    tree.mkdir()
    (tree / "cat.txt").write_bytes(b"a cat\n")
    place.mkdir()
    program = [*PROGRAM, "--quiet"]
    as_nobody(folder, *program, "put", "animals", f"{tree}/", device=closed)
    descriptor = open_mount(MountRequest(str(place), allow_other=lets_others_in))
    try:
        as_nobody(
            folder, *program, "mount", place, "--artifact", "animals", "--fd", str(descriptor),
            device=closed, descriptor=descriptor,
        )  # fmt: skip
        os.close(descriptor)
        assert slurp(place / "cat.txt") == b"a cat\n"
        as_nobody(folder, *program, "mount", "--upgrade", place, device=closed)
        assert slurp(place / "cat.txt") == b"a cat\n"
    finally:
        subprocess.run(["umount", "-l", place], check=True)
