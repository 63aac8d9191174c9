"""Versions in parts, in a bucket: writers on machines of their own, prunes without locks, answers that are lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from artifactfs.errors import DraftClosedError, PathConflictError
from artifactfs.repository.condemning import ListExclusion
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.repository import Repository
from tests.remote.faulty_proxy import LOSE
from tests.remote.servers import Server
from tests.remote.test_repositories import Team, make_team
from tests.repository.drafts.support import add, finish_it, read_version


@pytest.fixture
def team(moto: Server, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(moto, tmp_path)


@pytest.fixture(params=["ceph", "azurite"])
def real_team(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(request.getfixturevalue(request.param), tmp_path)


def prune_at_once(repository: Repository) -> None:
    exclusion = repository.exclusion
    assert isinstance(exclusion, ListExclusion)
    exclusion.timing = replace(exclusion.timing, wait_seconds=0, grace_seconds=0)
    delete_garbage(repository, find_garbage(repository))


def make_in_parts(team: Team, writers: int) -> None:
    with ExitStack() as stack:
        machines = [stack.enter_context(team.machine(f"m{number}")) for number in range(writers)]
        threads = [
            threading.Thread(target=add, args=(machine, {b"data": {b"%d" % number: b"data %d" % number}}))
            for number, machine in enumerate(machines)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        prune_at_once(machines[0])
        with pytest.raises(PathConflictError):
            add(machines[1], {b"data": {b"0": b"other"}})
        assert machines[0].find_collection("animals") is None
        results = [finish_it(machine) for machine in machines[:2]]
        assert [(result.version.name, result.created) for result in results] == [("v0", True), ("v0", False)]
        with pytest.raises(DraftClosedError):
            add(machines[2], {b"late": b"late"})
        prune_at_once(machines[2])
        expected = {b"data/%d" % number: b"data %d" % number for number in range(writers)}
        version = machines[2].get_collection("animals").versions[0]
        assert read_version(machines[2], version) == expected


def test_many_machines_make_one_version(team: Team) -> None:
    make_in_parts(team, 4)


@pytest.mark.remote
def test_many_machines_make_one_version_on_real_servers(real_team: Team) -> None:
    make_in_parts(real_team, 8)


def test_answers_that_are_lost_add_nothing_twice(team: Team) -> None:
    with team.machine() as repository:
        team.proxy.fail(LOSE, method="PUT", path="drafts/", times=1)
        assert len(add(repository, {b"a": b"a"}).parts) == 1
        team.proxy.fail(LOSE, method="PUT", path="drafts/", times=2)
        finish_it(repository)
        assert len(repository.get_collection("animals").versions) == 1
