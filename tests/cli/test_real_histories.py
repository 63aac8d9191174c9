"""Every command that changes a repository, killed at any moment, and several at once: real processes, real files."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [str(Path(sys.executable).with_name("artifactfs")), "--quiet", "--yes"]
KILLS = 60
SECONDS = 25
BUSY, CONFLICT = 21, 22

pytestmark = pytest.mark.slow


class Machine:
    """A user of a repository, with a state directory of his own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        places = {"ARTIFACTFS_REPO": str(folder / "repo"), "ARTIFACTFS_STATE": str(self.folder / "state")}
        self.environment = {**os.environ, **places, "ARTIFACTFS_RUNTIME": str(self.folder / "run")}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment
        )

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> bytes:
        process = self.start(*arguments)
        said, told = process.communicate(timeout=120)
        assert process.returncode in codes, (arguments, process.returncode, told)
        return said

    def versions(self) -> dict[str, str]:
        """Return the content digest of each version."""
        if not (Path(self.environment["ARTIFACTFS_REPO"]) / "collections").exists():
            return {}
        listed = json.loads(self.run("--json", "ls", "data", codes=(0, 10)) or b"{}")
        return {version["ref"]: version["content_digest"] for version in listed.get("versions", [])}


def make_files(folder: Path, rng: random.Random) -> None:
    """Make a tree of which much is the same each time, so that commits use what prunes look at."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for _ in range(rng.randrange(1, 40)):
        number = rng.randrange(60)
        (folder / f"{number}").write_bytes(random.Random(number).randbytes(number * 500))
    (folder / "own").write_bytes(rng.randbytes(3000))


def choose(machine: Machine, rng: random.Random, versions: dict[str, str]) -> tuple[str, ...]:
    """Return a command that changes the repository."""
    make_files(machine.folder / "files", rng)
    some = rng.choice(sorted(versions)) if versions else "data:v0"
    return rng.choice(
        [
            ("put", "data", f"{machine.folder}/files/"),
            ("put", "data", f"{machine.folder}/files/"),
            ("alias", "set", some, "chosen"),
            ("rm", some, "--force"),
            ("stage", some, "--name", f"s{rng.randrange(1000)}"),
            ("expire", "data", "--keep-last", "3", "--keep-aliased"),
            ("prune",),
            ("prune",),
        ]
    )


def commit_staged(machine: Machine, rng: random.Random) -> tuple[str, ...] | None:
    """Write into a staging directory, and return the command that commits it."""
    listed = json.loads(machine.run("--json", "staging"))["staging"]
    if not listed:
        return None
    staging = rng.choice(listed)
    (Path(staging["upper"]) / f"new{rng.randrange(100)}").write_bytes(rng.randbytes(2000))
    return ("commit", staging["staging"])


def test_any_command_killed_at_any_moment(tmp_path: Path) -> None:
    rng, machine = random.Random(11), Machine(tmp_path, "ada")
    machine.run("put", "data", __file__)
    known = machine.versions()
    killed, lasting = 0, dict[str, float]()
    for step in range(KILLS):
        command = (commit_staged(machine, rng) if step % 4 == 3 else None) or choose(machine, rng, known)
        # Somewhere in what such a command lasted when it was last let to end, or after.
        begin, limit = time.monotonic(), rng.random() * 1.3 * lasting.get(command[0], 0.3)
        process = machine.start(*command)
        try:
            process.wait(timeout=limit)
            lasting[command[0]] = time.monotonic() - begin
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        machine.run("check", "--read-data")
        now = machine.versions()
        assert all(now[ref] == digest for ref, digest in known.items() if ref in now), "a version never changes"
        if command[0] not in ("rm", "expire"):
            assert set(known) <= set(now), f"{command} lost a version"
        known = now
    assert killed > KILLS / 4
    machine.run("prune")
    assert json.loads(machine.run("--json", "prune"))["garbage"]["objects"] == 0
    left = [path for path in (tmp_path / "repo" / "tmp").rglob("*") if path.is_file()]
    assert left == []


def _act(folder: str, name: str, seed: str, seconds: str) -> None:
    """Change the repository until the time is over; the program of one process."""
    machine, rng = Machine(Path(folder), name), random.Random(int(seed))
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        if name.startswith("reader"):
            listed = sorted(machine.versions())
            if listed:
                target = machine.folder / "got"
                # A version may be removed, and pruned, while it is looked for.
                machine.run("get", rng.choice(listed), str(target), "--replace", codes=(0, 11, 13, 31))
            continue
        command = choose(machine, rng, machine.versions())
        # Removed by somebody else meanwhile; a prune that always meets writers; an alias that moved.
        machine.run(*command, codes=(0, 10, 11, 12, BUSY, CONFLICT))


def test_several_at_once(tmp_path: Path) -> None:
    first = Machine(tmp_path, "first")
    first.run("put", "data", __file__)
    code = "import sys; from tests.cli.test_real_histories import _act; _act(*sys.argv[1:])"
    names = ["writer1", "writer2", "writer3", "reader1", "reader2"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), name, str(seed), str(SECONDS)], stderr=subprocess.PIPE
        )
        for seed, name in enumerate(names)
    ]
    told = {name: process.communicate(timeout=SECONDS + 90)[1] for name, process in zip(names, processes, strict=True)}
    assert [process.returncode for process in processes] == [0] * len(names), told
    first.run("check", "--read-data")
    for ref in first.versions():
        first.run("verify", ref)
    first.run("log", "data", "--verify")
