"""What an ordinary user sees of a mount by fusermount3: run by `test_ordinary_user`, ends with status 0.

ordinary_user.py FOLDER     an empty directory of the user's
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from artifactfs.mount import api
from artifactfs.mount.kernel.asking import find_figures, upgrade_mount
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.mountpoint import is_dead
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.syscalls import may_mount
from artifactfs.repository.repository import open_repository
from tests.kernel.support import Folders, put, slurp, timed, workers
from tests.kernel.waiting import wait_until

FEATURES = {"has_resend", "has_expire_only", "do_readdirplus", "cache_symlinks", "max_pages"}


def serve(folders: Folders, place: Path, **options: bool) -> MountInfo:
    return api.mount(folders, str(place), options=MountOptions(transport="kernel", **options))


def main(folder: Path) -> None:
    assert os.getuid() != 0
    assert not may_mount()
    tree, place = folder / "tree", folder / "mnt"
    tree.mkdir()
    place.mkdir()
    (tree / "cat.txt").write_bytes(b"a cat\n")
    (tree / "large.bin").write_bytes(os.urandom(20 << 20))
    folders = Folders(*(str(folder / name) for name in ("repository", "state", "cache", "runtime")))
    with open_repository(folders.repository, state=folders.state, author="tester") as repository:
        put(repository, "animals", tree)
        info = serve(folders, place, passthrough=True)
        log = Path(info.log)
        figures = find_figures(info)
        assert figures is not None
        assert set(figures["features"]) >= FEATURES, figures
        assert not figures["passthrough"]
        assert "passthrough is refused here (Operation not permitted)" in log.read_text()
        latest = place / "animals" / "latest"
        assert slurp(latest / "large.bin") == (tree / "large.bin").read_bytes()
        assert os.stat(latest / "cat.txt").st_uid == os.getuid()

        for pid in workers(info):
            os.kill(pid, signal.SIGKILL)
        assert slurp(latest / "cat.txt") == b"a cat\n"

        (tree / "cat.txt").write_bytes(b"another cat\n")
        put(repository, "animals", tree)
        with timed(2):
            wait_until(lambda: slurp(latest / "cat.txt") == b"another cat\n")
        upgrade_mount(folders, info.mountpoint)
        assert slurp(latest / "cat.txt") == b"another cat\n"

        os.kill(info.pid, signal.SIGKILL)
        wait_until(lambda: is_dead(info.mountpoint), what="a dead mount")
        serve(folders, place)
        assert slurp(latest / "cat.txt") == b"another cat\n"
    api.unmount(folders, str(place))
    assert find_mount(str(place)) is None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
