"""Fetching ahead, keeping, and being offline: on a machine that has never seen the bucket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from artifactfs.digest import CHUNK_SIZE
from artifactfs.testing.repositories import commit_files
from tests.remote.servers import Server
from tests.remote.test_repositories import Team, make_team

LARGE = os.urandom(1 << 16) * (2 * CHUNK_SIZE >> 16) + b"end"
SMALL = {b"f%04d" % number: os.urandom(50) * 200 for number in range(1000)}  # 10 MB: three chunks of a pack
OFFLINE, FULL, NOT_FOUND, USAGE = 43, 50, 13, 2


@dataclass
class Machine:
    """A machine that uses a team's bucket."""

    team: Team
    name: str = "new"

    def environ(self) -> dict[str, str]:
        return {**self.team.environ(self.name), "ARTIFACTFS_CACHE": str(self.team.directory / f"{self.name}-cache")}

    def __call__(self, *arguments: str, code: int = 0, **more: str) -> str:
        command = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]
        command += ["--repo", self.team.location, *arguments]
        environ = {**self.environ(), **more}
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, errors="replace", timeout=60, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def count(self, *arguments: str) -> list[str]:
        """Run a command and return the paths that it asked for."""
        self.team.proxy.seen.clear()
        self(*arguments)
        return [seen.path for seen in self.team.proxy.seen]


@pytest.fixture
def team(moto: Server, tmp_path: Path) -> Iterator[Team]:
    for team in make_team(moto, tmp_path):
        with team.machine() as repository:
            commit_files(repository, "animals", {b"big": LARGE, b"d": SMALL, b"e": {b"x": b"1"}})
            commit_files(repository, "plants", {b"p": b"1"})
        yield team


@pytest.fixture
def machine(team: Team) -> Machine:
    return Machine(team)


def test_what_was_fetched_is_read_without_the_network(machine: Machine, tmp_path: Path) -> None:
    asked = machine.count("fetch", "animals")
    packs = [path for path in asked if "/packs/" in path]
    assert len(packs) <= 3 + 1  # each chunk once, and the size
    machine.team.proxy.is_cut_off = True
    machine.team.proxy.seen.clear()
    machine("--offline", "get", "animals", str(tmp_path / "out"))
    assert (tmp_path / "out" / "big").read_bytes() == LARGE
    assert (tmp_path / "out" / "d" / "f0999").read_bytes() == SMALL[b"f0999"]
    assert "committed v0" in machine("--offline", "log", "animals")
    assert machine("ls", "animals/", ARTIFACTFS_OFFLINE="1").split() == ["big", "d", "e"]
    assert machine("ls", ARTIFACTFS_OFFLINE="yes").split() == ["animals"]
    assert machine.team.proxy.seen == []


def test_what_is_not_here_is_named_at_once(machine: Machine, tmp_path: Path) -> None:
    machine.team.proxy.seen.clear()
    assert "nothing is known of s3://" in machine("--offline", "ls", code=OFFLINE)
    machine("ls", "animals/")
    machine.team.proxy.is_cut_off = True
    machine.team.proxy.seen.clear()
    said = machine("--offline", "cat", "animals/big", code=OFFLINE)
    assert "'big'" in said
    assert "is not on this machine" in said
    assert "artifactfs fetch" in said
    said = machine("--offline", "put", "animals", str(tmp_path), code=OFFLINE)
    assert "offline" in said
    assert machine.team.proxy.seen == []


def test_what_was_read_once_is_there(machine: Machine) -> None:
    machine("cat", "animals/e/x")
    machine.team.proxy.is_cut_off = True
    assert machine("--offline", "cat", "animals/e/x") == "1"


def test_a_part_is_fetched(machine: Machine) -> None:
    asked = machine.count("fetch", "animals", "--path", "big")
    assert not [path for path in asked if "/packs/" in path]
    asked = machine.count("fetch", "animals/d", "--path", "f0001")
    assert len([path for path in asked if "/packs/" in path]) <= 2
    assert machine.count("fetch", "animals/e/x") != []
    machine("fetch", "animals", "--path", "*.png", code=NOT_FOUND)
    assert [path for path in machine.count("fetch", "animals/d", "--path", "f0001") if "/packs/" in path] == []


def test_a_fetch_that_was_killed_goes_on(machine: Machine) -> None:
    proxy = machine.team.proxy
    command = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]
    command += ["--repo", machine.team.location, "fetch", "animals"]
    # The first chunks come; then the network is gone.
    proxy.hold = lambda seen: setattr(proxy, "is_cut_off", len([s for s in proxy.seen if s.range]) > 3)
    process = subprocess.Popen(command, env=machine.environ(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not proxy.is_cut_off:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    proxy.hold, proxy.is_cut_off = lambda seen: None, False
    chunks = Path(machine.environ()["ARTIFACTFS_CACHE"], "fetched", "chunks")
    there = {path.relative_to(chunks).as_posix() for path in chunks.rglob("*") if path.suffix[1:].isdecimal()}
    proxy.seen.clear()
    machine("fetch", "animals")
    for name in there:
        key, _, number = name.rpartition(".")
        if "@" not in key:
            again = f"bytes={int(number) * CHUNK_SIZE}-"
            assert not [seen for seen in proxy.seen if key in seen.path and seen.range.startswith(again)]
    machine("--offline", "cat", "animals/big")


def test_ctrl_c_ends_a_fetch_at_once(machine: Machine) -> None:
    machine("ls", "animals/")
    proxy = machine.team.proxy
    proxy.is_cut_off = True
    proxy.seen.clear()
    command = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]
    for arguments in (["fetch", "animals"], ["cat", "animals/big"]):
        proxy.seen.clear()
        proxy.is_cut_off = False
        proxy.hold = lambda seen: setattr(proxy, "is_cut_off", "/blobs/" in seen.path or proxy.is_cut_off)
        process = subprocess.Popen(
            [*command, "--repo", machine.team.location, *arguments],
            env=machine.environ(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not proxy.is_cut_off:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130, said
        assert time.monotonic() - begun < 8


def test_what_is_kept_stays(machine: Machine) -> None:
    machine("cache", "keep", "plants")
    machine("fetch", "animals", "--path", "big")
    assert "plants:v0" in machine("cache", "info")
    machine("cache", "clean")
    assert machine("--offline", "cat", "plants/p") == "1"
    machine("--offline", "cat", "animals/big", code=OFFLINE)
    assert "not kept: plants:v7" in machine("cache", "release", "plants:v7", code=USAGE)
    machine("cache", "release", "plants:v0")
    machine("cache", "clean")
    machine("--offline", "cat", "plants/p", code=OFFLINE)


def test_more_than_the_cache_holds_is_refused(machine: Machine) -> None:
    said = machine("fetch", "animals", code=FULL, ARTIFACTFS_CACHE_SIZE="6M")
    assert "bytes are needed" in said
    said = machine("cache", "keep", "animals", code=FULL, ARTIFACTFS_CACHE_SIZE="6M")
    assert "raise cache_size" in said
    said = machine("fetch", "animals", code=FULL, ARTIFACTFS_CACHE_FREE="100P")
    assert "no room" in said


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONNECTIONS", "0"),
        ("BANDWIDTH", "fast"),
        ("OFFLINE", "maybe"),
        ("DEADLINE_SECONDS", "-1"),
        ("CACHE_FREE", "x"),
    ],
)
def test_a_setting_that_cannot_be_is_said(machine: Machine, variable: str, value: str) -> None:
    assert repr(value) in machine("ls", code=4, **{f"ARTIFACTFS_{variable}": value})


def test_what_a_run_read_is_fetched_and_nothing_else(team: Team) -> None:
    text = (
        "import fsspec; fs = fsspec.filesystem('artifact');"
        "[fs.cat_file(name) for name in ('plants/p', 'animals/d/f0999', 'animals/e/x')]"
    )
    first = Machine(team, "first")
    first("run", "--", sys.executable, "-c", text, ARTIFACTFS_REPO=team.location)
    run = json.loads(first("--json", "runs"))["runs"][0]["id"]
    machine = Machine(team, "new")
    asked = machine.count("fetch", "--from-profile", run)
    assert not any("/blobs/" in path for path in asked), "the large file was not read"
    assert machine("--offline", "cat", "plants/p") == machine("--offline", "cat", "animals/e/x") == "1"
    assert "not on this machine" in machine("--offline", "cat", "animals/big", code=OFFLINE)
