"""Makes a small repository with drafts in every state, and says what is in it.

`golden/drafts.tar.gz` was written by this once, and is read for ever by `test_golden_drafts.py`. To see what another
release writes: `python -m tests.core.golden_drafts FILE`.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.contributing import Contribution, contribute, finish
from artifactfs.repository.draft_steps import Closed
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.testing.repositories import store_files
from tests.core.golden_archives import CountingClock, write_archive

NAME = "shards"
OPTIONS = CommitOptions(message="all parts", aliases=("whole",), tags=("late",))
GIVEN = Contribution(type="dataset", tags=("early",), metadata={"rows": 2})
STATES = ("open", "closed", "made", "committed", "dropped")
"""Drafts, by what became of them; the version of `made` is there, and the draft does not say so yet."""


class _Random:
    """Bytes that count."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, size: int) -> bytes:
        return next(self._numbers).to_bytes(size, "big")


def parts_of(state: str) -> list[dict[bytes, bytes]]:
    """Return the files of both parts of a draft."""
    return [{f"{state}-{number}".encode(): f"part {number} of {state}\n".encode()} for number in range(2)]


def _fill(repository: Repository, drafts: Drafts) -> None:
    for state in STATES:
        for files in parts_of(state):
            contribute(drafts, NAME, state, lambda files=files: store_files(repository, files), GIVEN)  # type: ignore[misc]
    finish(drafts, NAME, "committed", OPTIONS)
    drafts.drop(NAME, "dropped")
    finish(drafts, NAME, "made", OPTIONS)
    finish(drafts, NAME, "closed", OPTIONS)


def _interrupt(location: Path, drafts: Drafts) -> None:
    """Take back the last steps that were made for two drafts: whoever finishes them was killed before."""
    log = location / "collections" / NAME / "log"
    sorted(log.iterdir())[-1].unlink()  # the version of `closed`
    for state in ("made", "closed"):
        draft = drafts.get(NAME, state)
        at = next(number for number, step in enumerate(draft.steps) if isinstance(step, Closed))
        for key in list(drafts.repository.store.iter_keys("drafts/")):
            folder, number = key.split("/")[-2:]
            if folder == draft.id and number.isdecimal() and int(number) > at + 1:
                drafts.repository.store.delete([key])


def make_drafts(folder: Path) -> Path:
    """Make the repository below a folder, and return where it is."""
    clock, random, location = CountingClock(), _Random(), folder / "drafts"
    with open_repository(
        str(location), state=str(folder / "state"), author="ada@host", clock=clock, random=random, use_index=False
    ) as repository:
        drafts = Drafts(repository, random=random)
        _fill(repository, drafts)
        _interrupt(location, drafts)
    return location


if __name__ == "__main__":
    write_archive(sys.argv[1], make_drafts)
