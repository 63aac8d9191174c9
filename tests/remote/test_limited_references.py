"""`connections` and `bandwidth` limit what is asked of those who serve references, too."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artifactfs.digest import CHUNK_SIZE
from tests.reference.odd_server import Odd, running_odd_server
from tests.remote.test_ahead import Machine, machine, team

__all__ = ["machine", "team"]
NAMES = [f"f{number}" for number in range(8)]
LARGE = os.urandom(1 << 16) * (3 * CHUNK_SIZE >> 16)


class AtOnce:
    """Counts the answers that are given at once; the first ones wait for each other."""

    def __init__(self, parties: int) -> None:
        self.most = self._now = self._met = 0
        self._barrier = threading.Barrier(parties)
        self._guard = threading.Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._guard:
            self._now += 1
            self.most = max(self.most, self._now)
            self._met += 1
            is_met = self._met <= self._barrier.parties
        if is_met:
            self._barrier.wait(60)
        yield
        with self._guard:
            self._now -= 1


@pytest.fixture
def odd(machine: Machine) -> Iterator[Odd]:
    with running_odd_server() as server:
        server.files |= {f"/{name}": name.encode() * 100 for name in NAMES} | {"/large": LARGE}
        config = machine.team.directory / "config.toml"
        config.write_text(f"follow_references = {json.dumps([server.url])}\n")
        machine("put", "many", *(f"{server.url}/{name}" for name in NAMES), ARTIFACTFS_CONFIG=str(config))
        machine("put", "one", f"{server.url}/large", ARTIFACTFS_CONFIG=str(config))
        yield server


def config(machine: Machine) -> dict[str, str]:
    return {"ARTIFACTFS_CONFIG": str(machine.team.directory / "config.toml")}


def test_no_more_and_no_fewer_requests_at_once_than_connections(machine: Machine, odd: Odd) -> None:
    odd.gate = at_once = AtOnce(2)
    machine("fetch", "many", ARTIFACTFS_CONNECTIONS="2", **config(machine))
    assert at_once.most == 2


def test_bytes_in_a_second_are_limited(machine: Machine, odd: Odd, tmp_path: Path) -> None:
    begun = time.monotonic()
    machine("get", "one", str(tmp_path / "out"), ARTIFACTFS_BANDWIDTH="8M", **config(machine))
    assert time.monotonic() - begun > 0.9, "the first chunk comes at once, each other half a second after the last"
    assert (tmp_path / "out" / "large").read_bytes() == LARGE
