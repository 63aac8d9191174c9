"""Who holds on to an overlay: what keeps it from a commit, and what is written where it is not mounted any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.errors import BusyError
from artifactfs.mount import api
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.orders import LOWER
from artifactfs.mount.overlay.lingering import is_lingering
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.mount.registry import is_served, iter_live, slot_for
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import OVERLAY
from tests.mount.conftest import Folders, errno_of, wait_until
from tests.mount.staging_support import area, commit, transport
from tests.mount.test_overlay import attach, server_of, staged, staging

__all__ = ["area", "commit", "staged", "staging", "transport"]

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(not may_overlay(), reason="needs CAP_SYS_ADMIN in the initial user namespace"),
]

OPEN = "file = open(path, 'rb')"
MAP = (
    "import ctypes\n"
    "libc = ctypes.CDLL(None)\n"
    "libc.mmap.restype = ctypes.c_void_p\n"
    "file = os.open(path, os.O_RDONLY)\n"
    "assert libc.mmap(None, ctypes.c_size_t(4096), 1, 2, file, ctypes.c_long(0)) != 2**64 - 1\n"
    "os.close(file)"
)
STAND = "os.mkdir(path + '.made'); os.chdir(path + '.made')"


@pytest.mark.parametrize(
    ("hold", "remove", "name"),
    [
        (OPEN, lambda top: os.unlink(top / "README"), "README"),
        (OPEN, lambda top: os.rename(top / "run.sh", top / "README"), "README"),
        (MAP, lambda top: os.unlink(top / "README"), "README"),
        (STAND, lambda top: os.rmdir(top / "README.made"), "README.made"),
    ],
    ids=["removed", "replaced", "mapped", "directory"],
)
def test_what_was_removed_and_is_still_read_stops_a_commit_and_is_named(
    staged: Path,
    staging: Staging,
    commit: Callable[[Staging], int],
    hold: str,
    remove: Callable[[Path], None],
    name: str,
) -> None:
    """The kernel makes nothing read-only in which something without a name is in use."""
    script = f"import os, sys\npath = sys.argv[1]\n{hold}\nprint('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(staged / "README")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        remove(staged)
        with pytest.raises(BusyError, match=rf"removed files .* in use: {name} by process {process.pid} \(python"):
            commit(staging)
        process.communicate()
    assert commit(staging) == 1


def is_shown_anew(folders: Folders, staged: Path, killed: int) -> bool:
    others = [info.pid for info in iter_live(folders) if info.kind == LOWER and info.pid != killed]
    return bool(others) and errno_of(lambda: os.listdir(staged / "images")) is None


def test_who_goes_on_writing_where_the_version_lost_its_server_loses_nothing(
    folders: Folders, staged: Path, staging: Staging, area: StagingArea, commit: Callable[[Staging], int]
) -> None:
    """All was committed, so that it could begin anew over the new version: but for who has a file open."""
    (staged / "log").write_text("before\n")
    assert commit(staging) == 1
    with open(staged / "log", "a", encoding="utf-8", buffering=1) as log:
        killed = server_of(folders, LOWER).pid
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: is_shown_anew(folders, staged, killed), seconds=60)
        log.write("after\n")
    assert (staged / "log").read_text() == "before\nafter\n"
    assert [change.path for change in area.changes(area.get("animals"))] == [b"log"]


def test_what_is_still_written_after_a_lazy_unmount_is_not_committed_half(
    folders: Folders,
    mounted: MountInfo,
    repository: Repository,
    area: StagingArea,
    commit: Callable[[Staging], int],
) -> None:
    staging = area.create("fresh", version=None, driver=OVERLAY)
    top = attach(folders, repository, staging)
    own = server_of(folders).mountpoint
    with open(top / "file", "w", encoding="utf-8", buffering=1) as file:
        file.write("half ")
        api.unmount(folders, mounted.mountpoint, lazy=True)
        wait_until(lambda: not is_served(slot_for(folders, own)))
        assert is_lingering(staging)
        with pytest.raises(BusyError, match="still in use by who stood inside"):
            commit(staging)
        file.write("whole")
    wait_until(lambda: not is_lingering(staging))
    assert commit(staging) == 0
    api.mount(folders, mounted.mountpoint, options=MountOptions())
    assert Path(mounted.mountpoint, "fresh", "v0", "file").read_text() == "half whole"


def test_a_commit_after_a_lazy_unmount_says_who_is_in_the_way(
    folders: Folders, mounted: MountInfo, staged: Path, staging: Staging, commit: Callable[[Staging], int]
) -> None:
    """The server of an overlay with a version below waits for who stands inside, and answers."""
    own = server_of(folders).mountpoint
    with open(staged / "file", "w", encoding="utf-8") as file:
        api.unmount(folders, mounted.mountpoint, lazy=True)
        wait_until(lambda: find_mount(own) is None)
        with pytest.raises(BusyError, match="still in use by who stood inside"):
            commit(staging)
        file.write("written")
    wait_until(lambda: not is_served(slot_for(folders, own)))
    assert commit(staging) == 1
