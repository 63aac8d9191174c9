"""Push, pull and clones between a local repository and one in a bucket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import DigestMismatchError
from artifactfs.repository.check import check_repository
from artifactfs.repository.clone import clone
from artifactfs.repository.copy import copy_version
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.testing.repositories import commit_files, make_repository
from tests.remote.faulty_proxy import BUSY, CUT, FLIP
from tests.remote.servers import Server
from tests.remote.test_repositories import Team, make_team

LARGE = os.urandom(1 << 16) * (3 * CHUNK_SIZE >> 16) + b"end"
SMALL = {b"f%03d" % number: b"%d" % number * 50 for number in range(300)}
FILES = {b"big": LARGE, b"d": SMALL, b"l": "big"}


@pytest.fixture
def team(moto: Server, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(moto, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path / "local") as repository:
        yield repository


def copy(source: Repository, target: Repository, number: int = 0):
    collection = source.get_collection("animals")
    return copy_version(source, target, (collection, collection.versions[number]))


def test_push_and_pull_send_only_what_is_missing(team: Team, local: Repository, tmp_path: Path) -> None:
    commit_files(local, "animals", FILES)
    commit_files(local, "animals", {**FILES, b"new": b"one more"})
    with team.machine() as bucket:
        made = copy(local, bucket)
        assert (made.files, made.size) == (301, len(LARGE) + sum(map(len, SMALL.values())))
        # Not one request for each small file.
        assert len(team.proxy.seen) < 60
        team.proxy.seen.clear()
        made = copy(local, bucket, 1)
        assert (made.version.number, made.files, made.size) == (1, 1, len(b"one more"))
        sent = [seen.path.split("/")[4] for seen in team.proxy.seen if seen.method in ("PUT", "POST")]
        assert sorted(sent) == ["collections", "packs", "treepacks"]
        team.proxy.seen.clear()
        assert not copy(local, bucket, 1).created
        assert team.proxy.count("PUT") == 0
    with team.machine("other") as bucket, make_repository(tmp_path / "pulled") as pulled:
        made = copy(bucket, pulled, 1)
        assert made.created
        assert made.version.origin == bucket.get_collection("animals").versions[1].origin
        assert check_repository(pulled).damage == ()
        assert not copy(pulled, local).created  # where it was made


def test_damage_on_the_way_is_found(team: Team, tmp_path: Path) -> None:
    with team.machine() as bucket, make_repository(tmp_path / "pulled") as pulled:
        commit_files(bucket, "animals", FILES)
        team.proxy.fail(FLIP, path="/blobs/")
        with pytest.raises(DigestMismatchError):
            copy(bucket, pulled)
        assert pulled.find_collection("animals") is None
        for fault in (BUSY, CUT):
            team.proxy.fail(fault, path="/blobs/")
            team.proxy.fail(fault, path="/packs/")
        copy(bucket, pulled)
        assert check_repository(pulled).damage == ()


def test_a_repository_is_cloned_into_a_bucket_and_back(team: Team, local: Repository, tmp_path: Path) -> None:
    commit_files(local, "animals", FILES)
    commit_files(local, "plants", {b"p": b"1"})
    options = team.server.options(poll_seconds=1e-9, read_timeout_seconds=5)
    with open_repository(
        team.location, state=str(tmp_path / "a"), author="a@host", remote=options, like=local.format
    ) as bucket:
        assert bucket.id == local.id
        clone(local, bucket)
        assert bucket.get_collection("animals") == local.get_collection("animals")
        back = open_repository(str(tmp_path / "back"), state=str(tmp_path / "b"), author="b@host", like=bucket.format)
        with back:
            team.proxy.fail(FLIP, path="/blobs/")
            with pytest.raises(DigestMismatchError):
                clone(bucket, back)
            clone(bucket, back)
            assert back.get_collection("plants") == local.get_collection("plants")
            assert check_repository(back).damage == ()


def test_a_killed_push_is_gone_on_with(team: Team, local: Repository) -> None:
    # Packs are sent when 64 MiB are complete, so there is something to go on from.
    files = {b"f%03d" % number: os.urandom(1 << 10) * 1000 + b"%d" % number for number in range(140)}
    commit_files(local, "animals", files)
    command = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]
    environ = {**team.environ(), "ARTIFACTFS_STATE": os.path.dirname(local.state_directory)}
    command += ["--repo", local.location, "copy", "animals", team.location]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not _has_sent_packs(team):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with team.machine("b") as bucket:
        assert bucket.find_collection("animals") is None
        there = set(bucket.store.iter_keys("packs/"))
        assert there
        team.proxy.seen.clear()
        subprocess.run(command, env=environ, check=True, stderr=subprocess.PIPE, timeout=60)
        begun = [key for key in there if any(key in seen.path and seen.method != "HEAD" for seen in team.proxy.seen)]
        assert begun == []
        bucket.refresh()
        assert bucket.get_collection("animals").versions[0].root.count == len(files)
        assert check_repository(bucket).damage == ()


def _has_sent_packs(team: Team) -> bool:
    """Return whether a pack appeared."""
    prefix = f"{team.location.partition(team.bucket + '/')[2]}/packs/"
    return bool(team.server.client().list_objects_v2(Bucket=team.bucket, Prefix=prefix).get("Contents"))


@pytest.mark.remote
@pytest.mark.parametrize("kind", ["ceph", "azurite"])
def test_push_pull_and_clone_on_real_servers(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    for team in make_team(request.getfixturevalue(kind), tmp_path):
        source = tmp_path / "source"
        source.mkdir()
        (source / "big").write_bytes(LARGE)
        for name, data in SMALL.items():
            (source / os.fsdecode(name)).write_bytes(data)
        local, pulled, cloned = (str(tmp_path / name) for name in ("local", "pulled", "cloned"))
        team.run("--repo", local, "put", "animals", str(source), "--alias", "good")
        assert team.run("--repo", local, "copy", "animals", team.location, "--with-aliases") == "animals:v0\n"
        assert team.run("copy", "animals:good", pulled, name="b") == "animals:v0\n"
        team.run("--repo", pulled, "check", name="b")
        team.run("clone", team.location, cloned, name="c")
        team.run("--repo", cloned, "verify", "animals:good", name="c")
        team.run("--repo", cloned, "get", "animals", str(tmp_path / "out"), name="c")
        assert (tmp_path / "out" / "source" / "big").read_bytes() == LARGE
