"""A repository with drafts in every state, written once: each is gone on with from where it stands, for ever.

`golden_drafts.py` says what is in it. It never changes; what a later release adds to the format goes into another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.errors import DraftClosedError
from artifactfs.repository.check import check_repository
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.contributing import contribute, finish
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.testing.repositories import store_files
from tests.core.golden_archives import START_NS, unpack_archive
from tests.core.golden_drafts import GIVEN, NAME, OPTIONS, STATES, parts_of
from tests.repository.drafts.support import read_version
from tests.repository.prune.support import StoppedClock

NOW_NS = START_NS + 86400 * 10**9
"""When no draft has passed its time."""
UNFINISHED = {"open", "closed", "made"}
LATER = CommitOptions(message="of a later release")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """Return a copy of it, seen for the first time."""
    location, state = str(unpack_archive("drafts", tmp_path)), str(tmp_path / "state")
    with open_repository(
        location, state=state, author="tester", clock=StoppedClock(NOW_NS), random=os.urandom
    ) as found:
        yield found


def files_of(state: str) -> dict[bytes, bytes]:
    return {path: content for files in parts_of(state) for path, content in files.items()}


def test_nothing_is_damaged_or_unknown(repository: Repository) -> None:
    found = check_repository(repository, share=1.0)
    assert (found.damage, found.strays) == ((), ())


def test_each_draft_is_where_it_was_left(repository: Repository) -> None:
    drafts = Drafts(repository)
    assert {state: drafts.get(NAME, state).status for state in STATES} == {
        "open": "open",
        "closed": "closed",
        "made": "closed",
        "committed": "committed",
        "dropped": "dropped",
    }
    assert [drafts.find_version(drafts.get(NAME, state)) for state in STATES] == [None, None, 1, 0, None]
    assert all(len(drafts.get(NAME, state).parts) == 2 for state in STATES)


@pytest.mark.parametrize("state", sorted({*STATES} - {"dropped"}))
def test_whoever_finishes_goes_on(repository: Repository, state: str) -> None:
    """With what was asked for the first time, where that was written down."""
    result = finish(Drafts(repository), NAME, state, LATER)
    assert result.version.number == {"committed": 0, "made": 1}.get(state, 2)
    assert read_version(repository, result.version) == files_of(state)
    assert set(result.version.tags) == ({"early"} if state == "open" else {"early", "late"})
    assert Drafts(repository).get(NAME, state).status == "committed"


def test_another_part_comes_to_what_is_open_alone(repository: Repository) -> None:
    drafts = Drafts(repository)

    def add(state: str) -> None:
        contribute(drafts, NAME, state, lambda: store_files(repository, {b"more": b"more"}), GIVEN)

    add("open")
    assert read_version(repository, finish(drafts, NAME, "open", OPTIONS).version) == {
        **files_of("open"),
        b"more": b"more",
    }
    for state in set(STATES) - {"open"}:
        with pytest.raises(DraftClosedError):
            add(state)
    with pytest.raises(DraftClosedError):
        finish(drafts, NAME, "dropped", OPTIONS)


def test_a_prune_keeps_what_is_not_finished(repository: Repository) -> None:
    assert delete_garbage(repository, find_garbage(repository)).count
    for state in sorted(UNFINISHED):
        version = finish(Drafts(repository), NAME, state, OPTIONS).version
        assert read_version(repository, version) == files_of(state)
    found = check_repository(repository, share=1.0)
    assert not found.damage
