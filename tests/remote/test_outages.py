"""A service that does not answer: mounts show what was last known, and all again when it is back."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from artifactfs.clock import SystemClock
from artifactfs.errors import RemoteTimeoutError, RemoteUnavailableError
from artifactfs.index.epochs import open_epoch
from artifactfs.mount.kernel.changes import CatalogueChanges
from artifactfs.repository import outage
from artifactfs.repository.outagenotice import find_outage_ns
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.testing.repositories import commit_files
from artifactfs.vfs.nodes import NodeTable
from artifactfs.vfs.staging_places import NoStaging
from tests.cli.support import PROGRAM
from tests.mount.conftest import errno_of
from tests.remote.faulty_proxy import BUSY
from tests.remote.servers import Server
from tests.remote.test_repositories import Team, make_team


@pytest.fixture
def team(moto: Server, tmp_path: Path) -> Iterator[Team]:
    for team in make_team(moto, tmp_path):
        with team.machine() as repository:
            commit_files(repository, "animals", {b"a": b"1"})
            commit_files(repository, "plants", {b"p": b"1"})
        yield team


def go_down(team: Team) -> None:
    for method in ("GET", "HEAD"):
        team.proxy.fail(BUSY, method=method, times=10_000)


def come_back(team: Team) -> None:
    team.proxy.faults.clear()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def open_for_mount(team: Team, name: str, *, serves_last_known: bool = True) -> Repository:
    options = team.server.options(poll_seconds=1e-9, attempts=2, serves_last_known=serves_last_known)
    return open_repository(
        team.location, state=str(team.directory / name), author="a@host", remote=options, create=False
    )


def test_the_last_known_state_is_served_and_nobody_waits_twice(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_for_mount(team, "b") as repository:
        assert repository.get_collection("animals").next_version == 1
        go_down(team)
        team.proxy.seen.clear()
        assert repository.get_collection("animals").next_version == 1
        assert len(team.proxy.seen) == 2, "all attempts, once"
        assert repository.unanswered_since_ns is not None
        assert repository.get_collection("animals").next_version == 1
        assert repository.collection_names() == ["animals"]
        assert len(team.proxy.seen) == 2
        with pytest.raises(RemoteUnavailableError):
            repository.get_collection("plants")  # never seen here
        come_back(team)
        with team.machine() as other:
            commit_files(other, "animals", {b"a": b"2"})
        monkeypatch.setattr(outage, "AGAIN_SECONDS", 0.0)
        go_down(team)
        repository._outage._again_at = 0.0
        assert repository.get_collection("animals").next_version == 1, "asked by nobody who waits"
        wait_for(lambda: not repository._outage._is_asking)
        assert repository.unanswered_since_ns is not None
        come_back(team)
        wait_for(lambda: repository.get_collection("animals").next_version == 2)
        assert repository.unanswered_since_ns is None
        assert repository.collection_names() == ["animals", "plants"]


def test_the_first_look_in_an_outage_waits_no_whole_deadline(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", 0.5)
    answering = threading.Event()
    answering.set()
    team.proxy.hold = lambda _: answering.wait(30)
    with open_for_mount(team, "b") as repository:
        assert repository.collection_names() == ["animals", "plants"]
        with team.machine() as other:
            commit_files(other, "animals", {b"a": b"2"})
            commit_files(other, "birds", {b"b": b"1"})
        answering.clear()
        begun = time.monotonic()
        assert repository.get_collection("animals").next_version == 1
        assert repository.collection_names() == ["animals", "plants"]
        assert time.monotonic() - begun < 10
        assert repository.unanswered_since_ns is not None
        assert find_outage_ns(repository.state_directory) == repository.unanswered_since_ns
        answering.set()
        wait_for(lambda: repository.unanswered_since_ns is None)  # by the answer that nobody waited for
        assert find_outage_ns(repository.state_directory) is None
        wait_for(lambda: repository.get_collection("animals").next_version == 2)
        wait_for(lambda: repository.collection_names() == ["animals", "birds", "plants"])


def test_a_service_that_is_always_slow_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", 0.05)
    found = outage.Outage(lambda: None, location="s3://bucket", directory=str(tmp_path), clock=SystemClock())
    with pytest.raises(RemoteTimeoutError, match="no answer came"):
        found.run("state", lambda: time.sleep(1))
    wait_for(lambda: "state" in found._usual)
    assert found.run("state", lambda: time.sleep(0.3) or 7) == 7, "four times as long as it took before"
    with pytest.raises(RemoteTimeoutError):
        found.run("names", lambda: time.sleep(1))


def test_the_index_knows_it_in_another_process(team: Team) -> None:
    with open_for_mount(team, "b") as repository:
        assert repository.collection_names() == ["animals", "plants"]
    with open_for_mount(team, "b") as repository:
        go_down(team)
        assert repository.collection_names() == ["animals", "plants"]
        assert repository.get_collection("plants").next_version == 1


@pytest.mark.slow
def test_what_the_kernel_kept_of_an_outage_is_told_once_it_is_over(team: Team) -> None:
    with open_for_mount(team, "b") as asked, open_for_mount(team, "b") as told, ExitStack() as stack:
        epoch = stack.enter_context(open_epoch(told.state_directory, random=os.urandom))
        nodes = NodeTable(epoch)
        names = [asked.collection_names(), [nodes.collection(name) for name in ("animals", "plants")]]
        changes = CatalogueChanges(told, nodes, staging=NoStaging(), holding=stack.pop_all())
        stack.callback(changes.close)
        changes.find_changes()
        assert changes.find_changes() == []
        go_down(team)
        assert asked.collection_names() == names[0]
        come_back(team)
        assert {change.node for change in changes.find_changes()} >= set(names[1]), "shown as it was last known"
        wait_for(lambda: changes.find_changes() == [])
        go_down(team)
        assert changes.find_changes() == [], "it does not answer here either"


@pytest.mark.slow
def test_a_change_is_told_again_when_nobody_takes_the_old_state_for_the_present_one(team: Team) -> None:
    seconds = [0.0]
    with team.machine("b") as repository, ExitStack() as stack:
        epoch = stack.enter_context(open_epoch(repository.state_directory, random=os.urandom))
        holding = stack.pop_all()
        changes = CatalogueChanges(
            repository,
            NodeTable(epoch),
            staging=NoStaging(),
            holding=holding,
            lag_seconds=5.0,
            now=lambda: seconds[0],
        )
        stack.callback(changes.close)
        changes.find_changes()
        commit_files(repository, "animals", {b"a": b"2"})
        told = changes.find_changes()
        assert told
        assert changes.find_changes() == []
        seconds[0] = 5.0
        assert changes.find_changes() == told
        assert changes.find_changes() == []


def test_commands_and_machines_that_saw_nothing_are_told(team: Team) -> None:
    with open_for_mount(team, "b", serves_last_known=False) as repository, open_for_mount(team, "c") as new:
        repository.collection_names()
        go_down(team)
        for ask in (repository.collection_names, lambda: repository.get_collection("animals"), new.collection_names):
            with pytest.raises(RemoteUnavailableError):
                ask()


def list_mounts(team: Team, *arguments: str) -> str:
    environ = {**team.environ("b"), "ARTIFACTFS_REPO": team.location}
    command = [*PROGRAM, "mounts", *arguments]
    return subprocess.run(command, env=environ, check=True, timeout=60, capture_output=True, text=True).stdout


@contextmanager
def mounted(team: Team, transport: str, *, deadline: float, poll: float = 0.01) -> Iterator[Path]:
    """Give a mount point of a new machine."""
    environ = {
        **team.environ("b"),
        "ARTIFACTFS_REPO": team.location,
        "ARTIFACTFS_DEADLINE_SECONDS": f"{deadline}",
        "ARTIFACTFS_POLL_SECONDS": f"{poll}",
        "ARTIFACTFS_CACHE": str(team.directory / "cache"),
    }

    def run(*arguments: str | Path) -> None:
        command = [*PROGRAM, *map(str, arguments)]
        subprocess.run(command, env=environ, check=True, timeout=60)

    mountpoint = team.directory / "mnt"
    mountpoint.mkdir()
    run("mount", mountpoint, "--transport", transport)
    try:
        yield mountpoint
    finally:
        run("umount", mountpoint)


@pytest.mark.mounted
@pytest.mark.slow
@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_read_that_fails_takes_one_deadline(team: Team, transport: str) -> None:
    with team.machine() as repository:
        commit_files(repository, "large", {b"big": os.urandom(1 << 20) * 9})
    with mounted(team, transport, deadline=6.0, poll=600) as mountpoint:
        os.listdir(mountpoint / "large" / "latest")
        team.proxy.is_cut_off = True
        begun = time.monotonic()
        assert errno_of((mountpoint / "large" / "latest" / "big").read_bytes) in (errno.EIO, errno.ETIMEDOUT)
        assert 5.5 < time.monotonic() - begun < 11.5
        team.proxy.is_cut_off = False
        wait_for(lambda: errno_of((mountpoint / "large" / "latest" / "big").read_bytes) is None)


@pytest.mark.mounted
@pytest.mark.slow
@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_mount_lists_what_was_last_known(team: Team, transport: str) -> None:
    with mounted(team, transport, deadline=10) as mountpoint:
        animals = mountpoint / "animals"
        assert (animals / "latest" / "a").read_bytes() == b"1"
        go_down(team)
        assert sorted(os.listdir(animals)) == ["latest", "v0"]
        assert (animals / "latest" / "a").read_bytes() == b"1"
        assert os.getxattr(animals, "user.artifactfs.stale").startswith(b"2")
        [shown] = json.loads(list_mounts(team, "--json"))["mounts"]
        assert shown["stale"].startswith("2")
        assert f"stale since {shown['stale'][:10]}" in list_mounts(team)
        assert "does not answer" in list_mounts(team, str(mountpoint))
        assert errno_of(lambda: os.listdir(mountpoint / "never")) in (errno.EIO, errno.ENOENT)
        come_back(team)
        with team.machine() as other:
            commit_files(other, "animals", {b"a": b"2"})
        wait_for(lambda: "v1" in os.listdir(animals))
        wait_for(lambda: "user.artifactfs.stale" not in os.listxattr(animals))
        wait_for(lambda: json.loads(list_mounts(team, "--json"))["mounts"][0]["stale"] is None)
        wait_for(lambda: "stale" not in list_mounts(team))
