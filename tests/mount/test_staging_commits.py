"""Staging directories that are committed and discarded while they are mounted and used."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from artifactfs.errors import BusyError, UsageError
from artifactfs.mount import api, staging_mounts
from artifactfs.mount.options import MountInfo
from artifactfs.repository import staging as staging_module
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import OVERLAY, UNION
from tests.mount.conftest import Folders, errno_of, wait_until
from tests.mount.staging_support import (
    area,
    commit,
    driver,
    needs_binding,
    server_of,
    stage,
    staged,
    staging,
    transport,
)
from tests.mount.test_versions import run

__all__ = ["area", "commit", "driver", "staged", "staging", "transport"]

pytestmark = pytest.mark.mounted


def test_commit_while_mounted(
    staged: Path, staging: Staging, repository: Repository, commit: Callable[[Staging], int], area: StagingArea
) -> None:
    (staged / "new").write_text("new\n")
    os.rename(staged / "images", staged / "pictures")
    assert commit(staging) == 1
    top = staged.parent
    assert os.readlink(top / "latest") == "v1"
    assert run("diff", "-r", "--no-dereference", f"{staged}/.", top / "v1") == ""
    assert area.changes(area.get("animals")) == []
    (staged / "more").write_text("more\n")
    assert commit(staging) == 2
    assert sorted(os.listdir(top)) == ["@staging", "latest", "v0", "v1", "v2"]
    assert run("diff", "-r", "--no-dereference", f"{staged}/.", top / "v2") == ""


def test_open_writers_stop_a_commit_and_are_named(
    staged: Path, staging: Staging, commit: Callable[[Staging], int]
) -> None:
    script = "import sys; file = open(sys.argv[1], 'w'); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(staged / "images" / "written")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(BusyError, match=rf"images/written by process {process.pid} \(python"):
            commit(staging)
        assert not (staged.parent / "v1").exists()
        process.communicate()
    assert commit(staging) == 1


def test_after_a_commit_that_failed_writing_goes_on_at_once(
    staged: Path, staging: Staging, commit: Callable[[Staging], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UsageError("no")

    monkeypatch.setattr(staging_module, "build_staged", fail)
    for number in range(10):
        with pytest.raises(UsageError):
            commit(staging)
        (staged / str(number)).mkdir()


@pytest.mark.parametrize("driver", [UNION])
def test_changes_wait_while_frozen_and_go_on_when_the_committer_dies(
    folders: Folders, staged: Path, staging: Staging, repository: Repository
) -> None:
    freezer = api.MountFreezer(folders, repository.id)
    # Looked up before: while a file is being made, the kernel lets nobody look up a new name in its directory.
    assert (staged / "README").exists()
    with freezer.freeze(staging):
        writer = subprocess.Popen(["sh", "-c", f"echo late > '{staged}/late'"])
        assert (staged / "README").read_text() == "hello\n"
        with pytest.raises(BusyError, match="committed already"), freezer.freeze(staging):
            pass
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.3)
    assert writer.wait(20) == 0
    assert (staged / "late").read_text() == "late\n"


def test_while_changes_are_held_others_are_answered(
    folders: Folders, staged: Path, staging: Staging, repository: Repository, driver: str
) -> None:
    if driver == OVERLAY:
        pytest.skip("the kernel refuses changes, and answers the rest itself")
    writers: list[subprocess.Popen[bytes]] = []
    with api.MountFreezer(folders, repository.id).freeze(staging):
        # More of them than there are spare threads: each is held, and none holds up who only reads.
        for number in range(12):
            writers.append(subprocess.Popen(["sh", "-c", f"echo {number} > {staged}/images/held-{number}"]))
            assert run("cat", staged / "README") == "hello\n"
        assert "images" in run("ls", staged)
        assert all(writer.poll() is None for writer in writers)
    assert [writer.wait(timeout=20) for writer in writers] == [0] * 12
    assert [(staged / "images" / f"held-{number}").read_text() for number in range(12)] == [
        f"{number}\n" for number in range(12)
    ]


def test_a_killed_committer_leaves_nothing_frozen(folders: Folders, staged: Path, driver: str) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from artifactfs.mount.control import find_client\n"
        "client = find_client(sys.argv[2]); client.ask('freeze')\n"
        "print('frozen', flush=True); sys.stdin.read()\n"
    )
    top = str(Path(__file__).parent.parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", script, top, server_of(folders).socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"frozen\n"
    process.kill()
    process.communicate()
    if driver == OVERLAY:  # the union lets who writes wait; the kernel answers EROFS until the server has thawed
        wait_until(lambda: _is_written(staged / "after", "after\n"))
    else:
        (staged / "after").write_text("after\n")
    assert (staged / "after").read_text() == "after\n"


def test_a_server_killed_during_a_commit_stays_frozen_and_nothing_is_committed(
    folders: Folders,
    staged: Path,
    staging: Staging,
    repository: Repository,
    area: StagingArea,
    commit: Callable[[Staging], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next server finds the commit that reads, and holds what the killed one held."""
    (staged / "added").write_text("before\n")
    writers: list[subprocess.Popen[bytes]] = []
    build = staging_module.build_staged

    def kill_and_build(*args: Any) -> Any:
        before = server_of(folders).pid
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: any(info.kind == "staging" and info.pid != before for info in api.iter_mounts(folders)))
        wait_until(lambda: errno_of((staged / "added").read_text) is None)
        writers.append(subprocess.Popen(["sh", "-c", f"echo after > '{staged}/added'"], stderr=subprocess.DEVNULL))
        time.sleep(0.5)
        assert (staged / "added").read_text() == "before\n"
        return build(*args)

    monkeypatch.setattr(staging_module, "build_staged", kill_and_build)
    with pytest.raises(BusyError, match="ended during the commit"):
        area.commit(staging, freezer=api.MountFreezer(folders, repository.id))
    monkeypatch.undo()
    assert list(repository.load_state("animals").versions) == [0]
    writers[0].wait(20)
    wait_until(lambda: errno_of(lambda: (staged / "added").write_text("after\n")) is None)
    assert commit(staging) == 1
    assert (staged.parent / "v1" / "added").read_text() == "after\n"


def _is_written(path: Path, text: str) -> bool:
    try:
        path.write_text(text)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return False
    return True


def test_several_at_once(
    folders: Folders,
    staged: Path,
    repository: Repository,
    area: StagingArea,
    driver: str,
    commit: Callable[[Staging], int],
) -> None:
    other = stage(area, repository, driver, name="other")
    path = api.attach_staging(folders, repository, staging=other)
    assert path is not None
    Path(path, "mine").write_text("mine\n")
    assert not (staged / "mine").exists()
    assert commit(other) == 1


def test_what_is_being_committed_is_not_discarded(
    folders: Folders, staged: Path, staging: Staging, repository: Repository, area: StagingArea
) -> None:
    class Freezer(api.MountFreezer):
        @contextmanager
        def freeze(self, staging: Staging) -> Iterator[Callable[[], None] | None]:
            with super().freeze(staging) as served:
                with pytest.raises(BusyError, match="being committed"):
                    api.end_staging(folders, repository, staging, area)
                yield served

    (staged / "added").write_text("added\n")
    version = area.commit(staging, freezer=Freezer(folders, repository.id)).result.version
    assert version.number == 1
    assert (staged / "added").read_text() == "added\n"
    api.end_staging(folders, repository, staging, area)
    assert not os.path.lexists(staged)


def test_discarding(
    folders: Folders,
    mounted: MountInfo,
    staged: Path,
    staging: Staging,
    repository: Repository,
    area: StagingArea,
    driver: str,
) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=staged) as process:
        with pytest.raises(BusyError, match=f"process {process.pid}"):
            api.detach_staging(folders, repository, staging=staging)
        assert (staged / "README").read_text() == "hello\n"
        process.communicate()
    api.detach_staging(folders, repository, staging=staging)
    area.remove(staging)
    api.refresh_name(folders, repository.id, collection="animals", name="@staging")
    assert not os.path.lexists(staged)
    assert "@staging" not in os.listdir(staged.parent)
    again = stage(area, repository, driver)
    assert api.attach_staging(folders, repository, staging=again) == str(staged)
    assert (staged / "README").read_text() == "hello\n"


@pytest.mark.slow
@needs_binding
def test_what_is_mounted_elsewhere_is_not_discarded_and_that_is_said(
    folders: Folders,
    staged: Path,
    staging: Staging,
    repository: Repository,
    area: StagingArea,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container without propagation keeps a copy of the mount."""
    (staged / "new").write_text("new")
    monkeypatch.setattr(staging_mounts, "_END_SECONDS", 0.5)
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo; read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as elsewhere:
        assert elsewhere.stdout is not None
        elsewhere.stdout.readline()
        with pytest.raises(BusyError, match="another mount namespace") as caught:
            api.end_staging(folders, repository, staging, area)
        assert "end the container" in caught.value.hint
        elsewhere.communicate(b"\n")
    wait_until(lambda: errno_of((staged / "new").read_text) is None)
    api.end_staging(folders, repository, staging, area)
    assert not staged.exists()


def test_a_new_collection_starts_empty(
    folders: Folders,
    mounted: MountInfo,
    repository: Repository,
    area: StagingArea,
    driver: str,
    commit: Callable[[Staging], int],
) -> None:
    staging = area.create("fresh", version=None, driver=driver)
    path = api.attach_staging(folders, repository, staging=staging)
    assert path is not None
    assert os.listdir(path) == []
    Path(path, "first").write_text("first\n")
    assert commit(staging) == 0
    assert Path(mounted.mountpoint, "fresh", "latest", "first").read_text() == "first\n"
