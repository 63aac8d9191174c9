"""Offline: what is kept here is read through mounts and references, and all else is an error, not damage."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import errno_of
from tests.reference.odd_server import Odd, running_odd_server
from tests.remote.test_ahead import LARGE, OFFLINE, SMALL, Machine, machine, team

__all__ = ["machine", "team"]

PROGRAM = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]


def run(machine: Machine, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
    """Run a command without the network, and return what it said on both outputs."""
    command = [*PROGRAM, "--repo", machine.team.location, "--offline", *map(str, arguments)]
    done = subprocess.run(command, env=machine.environ(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def cut_off(machine: Machine) -> None:
    machine.team.proxy.is_cut_off = True
    machine.team.proxy.seen.clear()


def test_what_is_not_verified_is_no_damage(machine: Machine) -> None:
    machine("ls", "-R", "animals/")
    cut_off(machine)
    shown, said = run(machine, "verify", "animals", code=OFFLINE)
    lines = shown.splitlines()
    assert lines[0].startswith("big cannot be verified offline")
    assert len(lines) == 1 + len(SMALL) + 1
    assert f"{len(lines)} paths of animals:v0 could not be verified" in said
    document = json.loads(run(machine, "verify", "animals", "--json", code=OFFLINE)[0])
    assert not document["ok"]
    assert {problem["unknown"] for problem in document["problems"]} == {True}
    assert machine.team.proxy.seen == []


@pytest.mark.slow
def test_what_is_here_is_verified_offline(machine: Machine) -> None:
    machine("fetch", "animals")
    cut_off(machine)
    assert "animals:v0 is as it was stored" in run(machine, "verify", "animals")[1]
    chunks = Path(machine.environ()["ARTIFACTFS_CACHE"], "fetched", "chunks")
    first, second, third = sorted((chunks / "blobs").rglob("*.*"))
    second.unlink()
    shown, said = run(machine, "verify", "animals", code=OFFLINE)
    assert shown == "big cannot be verified offline: 1 of 3 parts are not on this machine\n"
    assert "1 path of animals:v0 could not be verified" in said
    flip(third)
    shown, _ = run(machine, "verify", "animals", code=OFFLINE)
    assert shown == "big cannot be verified offline: 1 of 3 parts on this machine were damaged, and are deleted\n"
    assert not third.exists()
    first.unlink()
    flip(next((chunks / "packs").rglob("*.0")))
    lines = run(machine, "verify", "animals", code=OFFLINE)[0].splitlines()
    assert lines[:2] == ["big cannot be verified offline", "d/f0000 cannot be verified offline"]
    assert machine.team.proxy.seen == []


def flip(path: Path) -> None:
    """Change a byte as a disk does that fails: nothing else of the file."""
    status = path.stat()
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes((first[0] ^ 1,)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.slow
def test_a_bucket_that_does_not_answer_is_no_damage(machine: Machine) -> None:
    machine("ls", "-R", "animals/")
    machine.team.proxy.fail("503", path="/blobs/", times=1000)
    command = [*PROGRAM, "--repo", machine.team.location, "verify", "animals"]
    environ = {**machine.environ(), "ARTIFACTFS_DEADLINE_SECONDS": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split(":")[0]) == (40, "big cannot be verified")


@pytest.mark.mounted
@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_mount_serves_what_is_kept_and_asks_nobody(machine: Machine, tmp_path: Path, transport: str) -> None:
    machine("fetch", "animals", "--path", "d")
    machine("ls", "-R", "animals/")
    cut_off(machine)
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    run(machine, "mount", mountpoint, "--transport", transport)
    try:
        top = mountpoint / "animals" / "v0"
        assert (top / "d" / "f0007").read_bytes() == SMALL[b"f0007"]
        assert (top / "big").stat().st_size == len(LARGE)
        assert errno_of((top / "big").read_bytes) == errno.ENETDOWN
        assert (top / "d" / "f0999").read_bytes() == SMALL[b"f0999"]
    finally:
        run(machine, "umount", mountpoint)
    assert machine.team.proxy.seen == []


@pytest.fixture
def odd(machine: Machine) -> Iterator[Odd]:
    """Return a server of which `pictures:v0` has two references, one of which was read."""
    with running_odd_server() as server:
        server.files |= {"/cat": b"meow" * 1000, "/dog": b"wuff" * 1000}
        config = machine.team.directory / "config.toml"
        config.write_text(f"follow_references = {json.dumps(['http://', server.url])}\n")
        machine.team.proxy.is_cut_off = False
        machine("put", "pictures", f"{server.url}/cat", f"{server.url}/dog", ARTIFACTFS_CONFIG=str(config))
        assert machine("cat", "pictures/cat", ARTIFACTFS_CONFIG=str(config)) == "meow" * 1000
        server.requests.clear()
        yield server


def test_references_that_were_read_are_read_again(machine: Machine, odd: Odd, tmp_path: Path) -> None:
    config = {"ARTIFACTFS_CONFIG": str(machine.team.directory / "config.toml")}
    cut_off(machine)
    assert machine("--offline", "cat", "pictures/cat", **config) == "meow" * 1000
    said = machine("--offline", "cat", "pictures/dog", code=OFFLINE, **config)
    assert f"pictures:v0/dog: {odd.url}/dog is not on this machine" in said
    assert "could not be verified" in machine("--offline", "verify", "pictures", code=OFFLINE, **config)
    said = machine("--offline", "put", "--no-checksum", "more", f"{odd.url}/cat", code=OFFLINE, **config)
    assert "offline" in said
    assert odd.requests == []
    assert machine.team.proxy.seen == []


def test_a_fetch_brings_references(machine: Machine, odd: Odd) -> None:
    config = {"ARTIFACTFS_CONFIG": str(machine.team.directory / "config.toml")}
    document = json.loads(machine("fetch", "pictures", "--json", **config))
    assert (document["references"], document["refused"], document["fetched"]) == (2, 0, 2), "a page, and the dog"
    assert document["size"] == 8000
    cut_off(machine)
    odd.requests.clear()
    for name, content in (("cat", "meow"), ("dog", "wuff")):
        assert machine("--offline", "cat", f"pictures/{name}", **config) == content * 1000
    machine("--offline", "fetch", "pictures", **config)
    assert odd.requests == []


def test_a_fetch_leaves_references_that_are_not_followed(machine: Machine, odd: Odd) -> None:
    config = machine.team.directory / "none.toml"
    config.write_text("follow_references = []\n")
    command = [*PROGRAM, "--repo", machine.team.location, "fetch", "pictures"]
    environ = {**machine.environ(), "ARTIFACTFS_CONFIG": str(config)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=True)
    assert "2 references were not fetched" in done.stderr
    assert odd.requests == []


def test_references_that_are_kept_are_not_evicted(machine: Machine, odd: Odd) -> None:
    config = {"ARTIFACTFS_CONFIG": str(machine.team.directory / "config.toml")}
    machine("cache", "keep", "pictures", **config)
    machine("cache", "clean", **config)
    cut_off(machine)
    odd.requests.clear()
    assert machine("--offline", "cat", "pictures/dog", **config) == "wuff" * 1000
    assert odd.requests == []


def test_a_reference_that_changed_fails_a_fetch(machine: Machine, odd: Odd) -> None:
    config = {"ARTIFACTFS_CONFIG": str(machine.team.directory / "config.toml")}
    odd.files["/dog"], odd.etags["/dog"] = b"miau" * 1000, '"two"'
    assert "is not what was recorded" in machine("fetch", "pictures", code=34, **config)


def test_references_are_parts_of_drafts(machine: Machine, odd: Odd) -> None:
    config = {"ARTIFACTFS_CONFIG": str(machine.team.directory / "config.toml")}
    machine("drafts", "add", "mixed", "job", f"{odd.url}/cat", __file__, **config)
    machine("drafts", "add", "mixed", "job", "artifact://animals:v0/e/x", **config)
    machine("drafts", "finish", "mixed", "job", **config)
    assert machine("ls", "mixed/", **config).split() == ["cat", Path(__file__).name, "x"]
    assert machine("cat", "mixed/cat", **config) == "meow" * 1000
    shown = json.loads(machine("reference", "ls", "mixed", "--json", **config))
    assert [(item["path"], item["state"]) for item in shown["references"]] == [("cat", "cached")]
