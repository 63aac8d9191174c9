"""What is sent again after a put into a bucket was killed: nothing of whole objects, all of the one under way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import blob_key
from artifactfs.blobstore.objectstore import PART_SIZE
from artifactfs.digest import hash_bytes
from tests.remote.servers import Server
from tests.remote.test_repositories import Team, make_team

FILES = [os.urandom(1 << 16) * (2 * PART_SIZE >> 16) + b"%d" % number for number in range(2)]  # three parts each


@pytest.fixture
def team(moto: Server, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(moto, tmp_path)


def count_parts(team: Team, data: bytes) -> int:
    key = blob_key(hash_bytes(data).raw)
    return sum(key in seen.path and "partNumber" in seen.path for seen in team.proxy.seen)


@pytest.mark.slow
def test_a_killed_put_sends_whole_objects_once(team: Team, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number, content in enumerate(FILES):
        (data / f"f{number}").write_bytes(content)
    command = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]
    command += ["--repo", team.location, "put", "animals", str(data)]
    environ = {**team.environ(), "ARTIFACTFS_CONNECTIONS": "1"}
    team.proxy.hold = lambda seen: setattr(team.proxy, "is_cut_off", begun() or team.proxy.is_cut_off)

    def begun() -> bool:
        return all(count_parts(team, content) for content in FILES)

    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not team.proxy.is_cut_off:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    team.proxy.hold, team.proxy.is_cut_off = lambda seen: None, False
    team.proxy.seen.clear()
    subprocess.run(command, env=environ, check=True, stderr=subprocess.PIPE, timeout=60)
    assert sorted(count_parts(team, content) for content in FILES) == [0, 3]
