"""`artifactfs prune` of a bucket from its first look to its end, beside commits, interrupted and killed.

The program is the real one; only its hour is over when the test says so (`PROGRAM`), since nobody waits for a test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.repository.condemning import ListExclusion
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.repository import open_repository
from artifactfs.testing.repositories import commit_files
from tests.remote.faulty_proxy import Seen
from tests.remote.servers import Server
from tests.remote.test_drafts import prune_at_once
from tests.remote.test_repositories import Team, make_team
from tests.repository.prune.support import delete_version

PROGRAM = """
import os, time
from artifactfs import clock
from artifactfs.repository import condemning
timing = condemning.Timing({times}, grace_seconds=0, poll_seconds=0.2)
condemning.Timing = lambda: timing
def sleep(self, seconds):
    while seconds >= 3600 and not os.path.exists({hour!r}):
        time.sleep(0.05)
    time.sleep(seconds % 3600)
clock.SystemClock.sleep = sleep
condemning.find_rest_seconds = lambda *_: 0
from artifactfs_cli.main import main
main()
"""
SHORT = "wait_seconds=1, delete_seconds=20, slack_seconds=1, skew_seconds=2"
OBJECTS = ("blobs/", "trees/", "sums/", "packs/", "treepacks/")


@pytest.fixture
def team(moto: Server, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(moto, tmp_path)


@pytest.fixture(params=["ceph", "azurite"])
def real_team(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(request.getfixturevalue(request.param), tmp_path)


@pytest.fixture
def ceph_team(ceph: Server, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(ceph, tmp_path)


def end_hour(team: Team) -> None:
    (team.directory / "hour").touch()


def start(team: Team, *arguments: str, times: str = "", name: str = "pruner") -> subprocess.Popen[str]:
    program = PROGRAM.format(times=times or "wait_seconds=3600", hour=str(team.directory / "hour"))
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-c", program, "--repo", team.location, *arguments],
        env=team.environ(name),
        stdin=nothing,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def start_prune(team: Team) -> subprocess.Popen[str]:
    """Return a prune that waits for its hour."""
    process = start(team, "prune", "--yes")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("waiting until"):
            return process
    raise AssertionError


def end(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """Return what a program printed, and said."""
    printed, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    return printed, said


def run(team: Team, *arguments: str, times: str = "", name: str = "pruner", code: int = 0) -> tuple[str, str]:
    return end(start(team, *arguments, times=times, name=name), code)


def list_keys(team: Team, prefix: str = "") -> set[str]:
    return set(team.server.open_store(team.bucket, "team/one").iter_keys(prefix))


def list_objects(team: Team) -> set[str]:
    return {key for prefix in OBJECTS for key in list_keys(team, prefix)}


def list_steps(team: Team) -> list[str]:
    return sorted(key.rpartition("/")[2] for key in list_keys(team, "prune/"))


def read_verdicts(team: Team) -> list[bool]:
    """Return whether the verdicts that there are say to delete."""
    store = team.server.open_store(team.bucket, "team/one")
    keys = sorted(key for key in list_keys(team, "prune/") if key.endswith("/verdict"))
    return [json.loads(store.read(key).splitlines()[0])["delete"] for key in keys]


def fill(team: Team, top: Path) -> Path:
    """Put two versions, remove the first, and return the directory with what that had."""
    data = top / "data"
    (data / "sub").mkdir(parents=True)
    for number in range(20):
        (data / "sub" / f"{number}.txt").write_text(f"number {number}\n")
    (data / "large.bin").write_bytes(os.urandom(1 << 16) * 80)
    team.run("put", "animals", f"{data}/")
    other = top / "other"
    other.mkdir()
    (other / "a.txt").write_text("alpha\n")
    team.run("put", "animals", f"{other}/")
    team.run("rm", "--yes", "animals:v0")
    return data


def check_well(team: Team) -> None:
    run(team, "check", "--read-data", name="checker")
    assert team.run("cat", "animals:v1/a.txt", name="reader") == "alpha\n"


@pytest.mark.remote
def test_a_prune_comes_to_its_end(real_team: Team, tmp_path: Path) -> None:
    team, top = real_team, tmp_path
    fill(team, top)
    before = list_objects(team)
    found = json.loads(run(team, "--json", "prune", "--dry-run")[0])
    assert found["garbage"]["objects"] == len(before) - found["reached"] > 2
    assert not list_steps(team)
    process = start_prune(team)
    team.run("put", "plants", str(top / "other"), name="other")
    assert list_objects(team) >= before, "nothing is deleted while it waits"
    end_hour(team)
    printed, said = end(process)
    assert f"deleted {found['garbage']['objects']} objects" in said
    assert "all" in printed
    assert list_steps(team) == ["condemned", "done", "verdict"]
    assert read_verdicts(team) == [True]
    assert len(before - list_objects(team)) == found["garbage"]["objects"]
    check_well(team)
    again = json.loads(run(team, "--json", "prune", "--yes")[0])
    assert again["garbage"]["objects"] == again["deleted"]["objects"] == 0
    assert team.run("cat", "plants/other/a.txt", name="new") == "alpha\n"


@pytest.mark.remote
def test_a_commit_that_needs_something_cancels_a_prune(real_team: Team, tmp_path: Path) -> None:
    team, data = real_team, fill(real_team, tmp_path)
    before = list_objects(team)
    process = start_prune(team)
    team.run("put", "animals", f"{data}/", name="other")
    end_hour(team)
    _, said = end(process, code=22)
    assert "the prune was cancelled by" in said
    assert "prune again" in said
    assert read_verdicts(team) == [False]
    assert list_objects(team) >= before
    team.run("verify", "animals:v2", name="reader")
    check_well(team)


@pytest.mark.remote
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_prune_that_waits_can_be_ended(real_team: Team, tmp_path: Path, number: signal.Signals, code: int) -> None:
    team = real_team
    fill(team, tmp_path)
    before = list_objects(team)
    process = start_prune(team)
    process.send_signal(number)
    end(process, code)
    assert read_verdicts(team) == [False]
    assert list_objects(team) == before
    check_well(team)


@pytest.mark.remote
def test_after_a_prune_that_was_killed_while_it_waited_all_goes_on(real_team: Team, tmp_path: Path) -> None:
    team, data = real_team, fill(real_team, tmp_path)
    process = start_prune(team)
    process.kill()
    process.communicate()
    team.run("put", "animals", f"{data}/", name="other")  # and does not wait for the hour
    assert read_verdicts(team) == [False]
    team.run("rm", "--yes", "--force", "animals:v2")
    end_hour(team)
    assert "waiting until" in run(team, "prune", "--yes")[1]
    assert list_steps(team) == ["condemned", "condemned", "done", "verdict", "verdict"]
    check_well(team)


@pytest.mark.remote
def test_a_commit_waits_for_a_prune_that_was_killed_while_it_deleted(ceph_team: Team, tmp_path: Path) -> None:
    """What that had sent arrives after its death."""
    team, data = ceph_team, fill(ceph_team, tmp_path)
    process = start(team, "prune", "--yes", times=SHORT)

    def kill(seen: Seen) -> None:
        if seen.method == "POST" and "delete" in seen.path and process.poll() is None:
            process.kill()
            process.wait()

    team.proxy.hold = kill
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert list_steps(team) == ["condemned", "verdict"]
    _, said = run(team, "put", "animals", f"{data}/", times=SHORT, name="other")
    assert "waiting for the prune of" in said
    team.run("verify", "animals:v2", name="reader")
    team.proxy.hold = lambda seen: None
    end_hour(team)
    run(team, "prune", "--yes")
    check_well(team)


def test_what_is_listed_is_not_asked_for_one_by_one(team: Team, tmp_path: Path) -> None:
    """In a bucket with a million objects that takes hours."""
    with open_repository(
        team.location, state=str(tmp_path / "a"), author="a@host", remote=team.server.options(), packed_below=0
    ) as repository:
        commit_files(repository, "animals", {b"%d" % number: b"%d" % number for number in range(50)})
        commit_files(repository, "animals", {b"kept": b"kept"})
        delete_version(repository, 0)
        assert isinstance(repository.exclusion, ListExclusion)
        team.proxy.seen.clear()
        prune_at_once(repository)
        assert team.proxy.count("HEAD") < 10
        assert team.proxy.count("POST") < 10
        assert find_garbage(repository).total.count == 0
        assert delete_garbage(repository, find_garbage(repository)).count == 0
