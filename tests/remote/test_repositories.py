"""Repositories in buckets: every command, other machines, answers that are lost, and how often the service is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.blobstore.keys import blob_key, log_prefix
from artifactfs.digest import CHUNK_SIZE, hash_bytes
from artifactfs.errors import (
    CollectionNotFoundError,
    ConfigurationError,
    DigestMismatchError,
    NotFoundError,
    RemoteDeniedError,
)
from artifactfs.repository.checkout import checkout
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import commit_files
from tests.remote.faulty_proxy import BUSY, DENY, FLIP, IGNORED, LOSE, REFUSED, FaultyProxy, running_proxy
from tests.remote.servers import Server, s3_server

LARGE = os.urandom(1 << 16) * 160  # 10 MiB: three chunks, two parts


@dataclass
class Team:
    """A bucket, and machines with a state directory each that use it, through one proxy."""

    server: Server
    bucket: str
    proxy: FaultyProxy
    directory: Path

    @property
    def location(self) -> str:
        return f"{self.server.scheme}://{self.bucket}/team/one"

    def machine(self, name: str = "a", *, poll_seconds: float = 1e-9, create: bool = True) -> Repository:
        options = self.server.options(poll_seconds=poll_seconds, read_timeout_seconds=5)
        return open_repository(
            self.location, state=str(self.directory / name), author=f"{name}@host", remote=options, create=create
        )

    def environ(self, name: str = "a") -> dict[str, str]:
        return {**os.environ, **self.server.environ, "ARTIFACTFS_STATE": str(self.directory / name)}

    def run(self, *arguments: str, name: str = "a", code: int = 0) -> str:
        command = [sys.executable, "-m", "artifactfs_cli.main", "--repo", self.location, *arguments]
        command[1:3] = ["-c", "from artifactfs_cli.main import main; main()"]
        done = subprocess.run(command, env=self.environ(name), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr


@pytest.fixture
def team(moto: Server, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(moto, tmp_path)


@pytest.fixture(params=["ceph", "azurite"])
def real_team(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(request.getfixturevalue(request.param), tmp_path)


def make_team(server: Server, directory: Path) -> Iterator[Team]:
    if server.scheme == "az":  # its endpoint has a path, which the proxy would have to rewrite
        yield Team(server, server.make_bucket(), FaultyProxy(), directory)
        return
    with running_proxy(server.endpoint) as proxy:
        through = s3_server(proxy.endpoint, server.config["access_key_id"], server.config["secret_access_key"])
        yield Team(replace(through), server.make_bucket(), proxy, directory)


def make_tree(top: Path) -> Path:
    (top / "data" / "sub").mkdir(parents=True)
    (top / "data" / "a.txt").write_bytes(b"alpha\n")
    (top / "data" / "empty").write_bytes(b"")
    (top / "data" / "sub" / "large.bin").write_bytes(LARGE)
    (top / "data" / "sub" / "link").symlink_to("../a.txt")
    return top / "data"


def test_every_command_works(team: Team, tmp_path: Path) -> None:
    check_commands(team, tmp_path)


@pytest.mark.remote
def test_every_command_works_on_real_servers(real_team: Team, tmp_path: Path) -> None:
    check_commands(real_team, tmp_path)


def check_commands(team: Team, top: Path) -> None:
    data = make_tree(top)
    team.run("put", "animals", str(data))
    assert team.run("cat", "animals/data/a.txt", name="b") == "alpha\n"
    (data / "a.txt").write_bytes(b"beta\n")
    team.run("put", "animals", str(data), "--alias", "best", "-m", "second", name="b")
    assert team.run("cat", "animals:best/data/a.txt") == "beta\n"
    assert team.run("cat", "animals:v0/data/a.txt") == "alpha\n"
    assert "a.txt" in team.run("diff", "animals:v0", "animals:v1")
    assert "animals" in team.run("ls")
    assert "second" in team.run("log", "animals")
    assert team.location in team.run("--json", "show", "animals:best", name="c")
    team.run("alias", "set", "animals:v0", "good", name="c")
    team.run("get", "animals:good", str(top / "out"), name="d")
    assert (top / "out" / "data" / "sub" / "large.bin").read_bytes() == LARGE
    assert os.readlink(top / "out" / "data" / "sub" / "link") == "../a.txt"
    assert (top / "out" / "data" / "a.txt").read_bytes() == b"alpha\n"
    team.run("verify", "animals")
    assert team.run("refresh", name="e") == "animals\t3\n"
    team.run("rm", "--yes", "animals:v0", "--force")
    assert "v0" in team.run("cat", "animals:v0/data/a.txt", name="b", code=11)
    team.run("stage", "animals", name="b")
    team.run("cat", "nothing/a", code=10)


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [(REFUSED, r"refuses to create .* answered 501 \(NotImplemented\)"), (IGNORED, "9 of 9 conditional creations")],
)
def test_a_service_without_conditional_create_is_refused_with_the_reason(
    team: Team, conditions: str, reason: str
) -> None:
    team.proxy.conditions = conditions
    with pytest.raises(ConfigurationError, match=f"^{team.location} cannot hold a repository: .*{reason}") as caught:
        team.machine()
    assert caught.value.exit_code == 4
    assert "supports conditional writes" in caught.value.hint
    assert list(team.server.open_bucket(team.bucket, "team/one").iter_keys("")) == []


def test_who_may_not_store_anything_is_told_that(team: Team) -> None:
    team.proxy.fail(DENY, method="PUT", times=100)
    with pytest.raises(RemoteDeniedError, match="answered 403"):
        team.machine()


def test_a_state_directory_is_named_by_the_repository(team: Team) -> None:
    with team.machine() as repository:
        assert repository.location == team.location
        assert os.path.dirname(repository.state_directory) == str(team.directory / "a")
        assert repository.id not in repository.location
    with team.machine("b") as other:
        assert other.id == repository.id


def test_what_is_not_a_repository_is_said(team: Team) -> None:
    with pytest.raises(NotFoundError, match=r"s3://.*no repository"):
        team.machine(create=False)
    team.server.open_store(team.bucket, "team/one").create("holiday/photo.jpg", b"x")
    with pytest.raises(ConfigurationError, match=r"s3://.*holds something else.*holiday"):
        team.machine()


def test_wrong_credentials_and_missing_buckets_have_exit_codes(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    said = team.run("--repo", "s3://nosuchbucket", "ls", code=4)
    assert "no such bucket" in said
    said = team.run("--repo", "s3://key:hunter2@bucket", "ls", code=4)
    assert "hunter2" not in said


@pytest.mark.remote
def test_denied_at_ceph(ceph: Server, tmp_path: Path) -> None:
    wrong = Team(s3_server(ceph.endpoint, "AKAKAKAK", "hunter2"), ceph.make_bucket(), FaultyProxy(), tmp_path)
    with pytest.raises(RemoteDeniedError):
        wrong.machine()
    assert "hunter2" not in wrong.run("-v", "ls", code=42)


def test_other_machines_are_followed(team: Team) -> None:
    with team.machine("a") as ours, team.machine("b") as theirs:
        commit_files(ours, "animals", {b"a": b"1"})
        assert theirs.get_collection("animals").next_version == 1
        for number in range(1, 4):
            commit_files(theirs, "animals", {b"a": b"%d" % number})
        state = ours.get_collection("animals")
        assert (state.next_version, state.aliases) == (4, {"latest": 3})
        assert [record.seq for record in ours.log.iter_records("animals")] == [1, 2, 3, 4]


def test_a_collection_is_asked_for_once_within_the_poll_interval(team: Team) -> None:
    with team.machine("writer") as writer:
        commit_files(writer, "animals", {b"a": b"1"})
        with team.machine("reader", poll_seconds=1000) as reader:
            assert reader.get_collection("animals").next_version == 1
            commit_files(writer, "animals", {b"a": b"2"})
            team.proxy.seen.clear()
            assert reader.get_collection("animals").next_version == 1
            assert team.proxy.seen == []
            reader.refresh()
            assert reader.get_collection("animals").next_version == 2
            # The one it knows, to compare it; a new one; that there are no more; and what this machine noted, again.
            assert [seen.path.rpartition("/")[2] for seen in team.proxy.seen] == [f"{seq:020}" for seq in (1, 2, 3, 1)]
        with team.machine("reader") as reader:
            reader.get_collection("animals")
            team.proxy.seen.clear()
            reader.get_collection("animals")
            assert [seen.path.rpartition("/")[2] for seen in team.proxy.seen] == [f"{3:020}"]


def test_a_known_collection_costs_two_requests_in_a_new_process(team: Team) -> None:
    with team.machine() as repository:
        commit_files(repository, "animals", {b"a": b"1"})
    with team.machine() as repository:
        team.proxy.seen.clear()
        repository.get_collection("animals")
        assert [(seen.method, seen.path.rpartition("/")[2]) for seen in team.proxy.seen] == [
            ("GET", f"{1:020}"),
            ("GET", f"{2:020}"),
        ]


def test_a_new_machine_reads_a_version_without_scanning_the_bucket(team: Team) -> None:
    with team.machine() as repository:
        for number in range(20):
            commit_files(repository, "animals", {b"a": b"%d" % number, b"d": {b"b": b"x"}})
    with team.machine("new") as repository:
        team.proxy.seen.clear()
        _, version = repository.resolve(parse("animals:v7"))
        file = repository.open_file(*Trees(repository.blobs).find_placed(version.root, b"a"))
        assert file.read_at(0, 10) == b"7"
        listed = [seen.path for seen in team.proxy.seen if "list-type" in seen.path]
        assert len(listed) == 1
        assert log_prefix("animals").rstrip("/").replace("/", "%2F") in listed[0]
        # 20 records and the probe after them, the tree, the blob.
        assert len(team.proxy.seen) - 1 == 21 + 1 + 1


@pytest.mark.parametrize(("path", "trips"), [(b"a", 5), (b"d/e/f/b", 5), (b"d/large", 5)])
def test_the_first_byte_of_a_cold_file_on_a_new_machine_takes_five_round_trips(
    team: Team, tmp_path: Path, path: bytes, trips: int
) -> None:
    with team.machine() as repository:
        for number in range(3):
            files = {b"a": b"%d" % number, b"d": {b"e": {b"f": {b"b": b"x%d" % number}}, b"large": LARGE}}
            commit_files(repository, "animals", files)
    team.proxy.hold = lambda seen: bool(team.proxy.stop.wait(0.1))  # the way there takes time
    # The format, the listing of the log, its records, the directories, the file. On a busy machine requests that wait
    # for nobody can begin one after the other.
    counts: list[int] = []
    while trips not in counts and len(counts) < 5:
        counts.append(count_round_trips(team, tmp_path / f"{len(counts)}", path))
    assert trips in counts


def count_round_trips(team: Team, top: Path, path: bytes) -> int:
    """Return how often a new machine waits for an answer until it has the first byte of a file."""
    options = team.server.options(cache=str(top / "cache"), remembered=str(top / "remembered"))
    team.proxy.seen.clear()
    with open_repository(team.location, state=str(top / "state"), author="new@host", remote=options) as repository:
        _, version = repository.resolve(parse("animals"))
        file = repository.open_file(*Trees(repository.blobs).find_placed(version.root, path))
        assert file.read_at(0, 1)
    return team.proxy.count_round_trips()


def parse(text: str):
    from artifactfs.paths import parse_ref

    return parse_ref(text)


@pytest.mark.parametrize("fault", [LOSE, BUSY])
def test_one_commit_is_made_once_whatever_answers_are_lost(team: Team, fault: str) -> None:
    with team.machine() as repository:
        for number in range(3):
            team.proxy.fail(fault, method="PUT", path="/log/", times=2)
            assert commit_files(repository, "animals", {b"a": b"%d" % number}).number == number
        assert repository.get_collection("animals").next_version == 3
        assert repository.get_collection("animals").seq == 3


def test_damage_on_the_way_is_not_handed_out(team: Team) -> None:
    with team.machine() as repository:
        data = make_tree(team.directory)
        put_paths(repository, "animals", [Source(os.fsencode(data))])
    with team.machine() as repository:
        _, version = repository.resolve(parse("animals"))
        entry = Trees(repository.blobs).find_entry(version.root, b"data/sub/large.bin")
        key = blob_key(hash_bytes(LARGE).raw)
        file = repository.open_file(entry)
        assert file.read_at(CHUNK_SIZE + 5, 10) == LARGE[CHUNK_SIZE + 5 : CHUNK_SIZE + 15]
        assert team.proxy.count("GET", key) == 1
        team.proxy.fail(FLIP, path=key)
        with pytest.raises(DigestMismatchError, match="damaged"):
            file.read_at(0, 10)
        assert file.read_at(CHUNK_SIZE - 5, 10) == LARGE[CHUNK_SIZE - 5 : CHUNK_SIZE + 5]


def test_a_large_file_is_fetched_once_by_get(team: Team, tmp_path: Path) -> None:
    with team.machine() as repository:
        data = make_tree(tmp_path)
        put_paths(repository, "animals", [Source(os.fsencode(data))])
        team.proxy.seen.clear()
        _, version = repository.resolve(parse("animals"))
        checkout(repository, version.root, os.fsencode(tmp_path / "out"))
        key = blob_key(hash_bytes(LARGE).raw)
        ranges = [seen.range for seen in team.proxy.seen if key in seen.path]
        assert sorted(ranges) == [
            f"bytes={at}-{min(at + CHUNK_SIZE, len(LARGE)) - 1}" for at in (0, CHUNK_SIZE, 2 * CHUNK_SIZE)
        ]


def test_what_is_stored_is_not_sent_again(team: Team, tmp_path: Path) -> None:
    data = make_tree(tmp_path)
    with team.machine() as repository:
        put_paths(repository, "animals", [Source(os.fsencode(data))])
        team.proxy.seen.clear()
        put_paths(repository, "animals", [Source(os.fsencode(data))])
        sent = [seen.path for seen in team.proxy.seen if seen.method in ("PUT", "POST")]
        assert [path for path in sent if "/log/" not in path] == []
        assert not [seen for seen in team.proxy.seen if seen.method == "GET" and "/blobs/" in seen.path]


def test_a_collection_that_is_not_there_is_looked_for_again(team: Team) -> None:
    with team.machine("a") as ours, team.machine("b") as theirs:
        with pytest.raises(CollectionNotFoundError):
            ours.get_collection("animals")
        commit_files(theirs, "animals", {b"a": b"1"})
        assert ours.get_collection("animals").next_version == 1


def test_the_default_options_take_the_environment(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in team.server.environ.items():
        monkeypatch.setenv(name, value)
    with open_repository(team.location, state=str(team.directory), author="a", remote=RemoteOptions()) as repository:
        assert repository.collection_names() == []
