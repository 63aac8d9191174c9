"""Auditing a log: whatever is done to it behind our back is found, and the report says where."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import log_key
from artifactfs.blobstore.local import open_local_store
from artifactfs.errors import MalformedError
from artifactfs.repository import changes
from artifactfs.repository.audit import LogAudit, audit_log
from artifactfs.repository.check import check_repository
from artifactfs.repository.prune import find_garbage
from artifactfs.repository.records import decode_record, encode_record
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.witness import Witness
from artifactfs.testing.repositories import commit_files, make_repository

COUNT = 6


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the directory of a repository with a log of six records, all seen."""
    with make_repository(tmp_path) as repository:
        fill(repository, COUNT)
        assert audit(tmp_path).problems == ()
        assert audit(tmp_path).seen == COUNT
    return tmp_path


def fill(repository: Repository, count: int) -> None:
    for number in range(count):
        commit_files(repository, "a", {b"f": b"%d" % number})


def path_of(place: Path, seq: int) -> Path:
    return place / "repository" / log_key("a", seq)


def witness(place: Path) -> Witness:
    return Witness(str(next((place / "state").glob("*"))))


def audit(place: Path) -> LogAudit:
    with open_local_store(str(place / "repository")) as store:
        return audit_log(store, "a", seen=witness(place).load("a"))


def rewrite(place: Path, seq: int) -> None:
    """Give a record another author, and a seal that fits it."""
    path = path_of(place, seq)
    record, _ = decode_record(path.read_bytes())
    import msgspec

    path.unlink()
    path.write_bytes(encode_record(msgspec.structs.replace(record, author="mallory"))[0])


def flip(place: Path, seq: int) -> None:
    data = path_of(place, seq).read_bytes().replace(b"tester@host", b"mallory@hos")
    path_of(place, seq).unlink()
    path_of(place, seq).write_bytes(data)


def cut(place: Path, seq: int) -> None:
    for number in range(seq, COUNT + 1):
        path_of(place, number).unlink()


def replace_from(place: Path, seq: int) -> None:
    """Write the log anew from a record on, longer than before."""
    cut(place, seq)
    other = open_repository(str(place / "repository"), state=str(place / "elsewhere"), author="mallory")
    with other:
        fill(other, COUNT + 3 - seq + 1)


@pytest.mark.parametrize(
    ("attack", "seq", "found"),
    [
        (flip, 3, [(3, "was altered")]),
        (flip, 1, [(1, "was altered")]),
        (rewrite, 3, [(3, "is not the one that this machine has seen"), (4, "record before it, 3, was altered")]),
        (rewrite, 6, [(6, "is not the one that this machine has seen: the log was replaced after record 5")]),
        (lambda place, seq: path_of(place, seq).unlink(), 4, [(4, "is missing: it was cut out")]),
        (cut, 5, [(5, "has seen the log up to 6; it was cut")]),
        (cut, 1, [(1, "has seen the log up to 6; it was cut")]),
        (replace_from, 4, [(4, "the log was replaced after record 3")]),
        (replace_from, 1, [(1, "the log was replaced from the first")]),
    ],
    ids=["flip", "flip first", "rewrite", "rewrite last", "cut out", "cut", "cut all", "replace", "replace all"],
)
def test_attacks(place: Path, attack: Callable[[Path, int], None], seq: int, found: list[tuple[int, str]]) -> None:
    attack(place, seq)
    problems = audit(place).problems
    assert [problem.seq for problem in problems] == [number for number, _ in found]
    for problem, (_, words) in zip(problems, found, strict=True):
        assert words in problem.what


def test_what_was_seen_stays_when_the_log_was_replaced(place: Path) -> None:
    replace_from(place, 2)
    with make_repository(place) as repository:
        repository.append("a", lambda state: changes.set_aliases(state, version=0, aliases=["x"]))
    assert max(witness(place).load("a"))[0] == COUNT
    assert "replaced after record 1" in audit(place).problems[0].what


@pytest.mark.parametrize("seq", [1, 5], ids=["cut all", "cut"])
def test_nothing_is_committed_to_a_log_that_was_cut(place: Path, seq: int) -> None:
    cut(place, seq)
    with make_repository(place) as repository:
        with pytest.raises(MalformedError, match="this machine has seen 6 records"):
            fill(repository, 1)
        with pytest.raises(MalformedError, match="was cut"):
            find_garbage(repository)
        assert [damage.key for damage in check_repository(repository).damage] == [log_key("a", seq)]
        assert max(witness(place).load("a"))[0] == COUNT
        witness(place).forget("a")  # as another process does
        fill(repository, 1)
        assert witness(place).load("a")[-1][0] == seq
    assert audit(place).problems == ()


def test_it_is_noted_without_an_index_and_in_any_order(tmp_path: Path) -> None:
    with make_repository(tmp_path, use_index=False) as repository:
        fill(repository, 2)
        head = repository.load_state("a").head
    assert witness(tmp_path).load("a")[-1] == (2, head)
    with open(next((tmp_path / "state").glob("*/seen/a")), "a") as file:
        file.write("12 sha256:cut")
    assert witness(tmp_path).load("a")[-1] == (2, head)
    shutil.rmtree(next((tmp_path / "state").glob("*/seen")))
    with make_repository(tmp_path) as repository:
        fill(repository, 1)
    assert [seq for seq, _ in witness(tmp_path).load("a")] == [3]
    assert audit(tmp_path).problems == ()


def test_a_forged_checkpoint_is_found(place: Path) -> None:
    with make_repository(place) as repository:
        for number in range(256 - COUNT):
            repository.append(
                "a", lambda state, number=number: changes.set_aliases(state, version=0, aliases=[f"a{number}"])
            )
    path = next((place / "repository" / "collections" / "a" / "checkpoint").iterdir())
    assert audit(place).problems == ()
    from artifactfs.repository.sealed import open_sealed, seal

    line = open_sealed(path.read_bytes(), key="")[0].replace(b'"a1":0', b'"a1":3')
    path.unlink()
    path.write_bytes(seal(line))
    assert [problem.seq for problem in audit(place).problems] == [256]
    os.truncate(path, 20)
    assert "damaged checkpoint" in audit(place).problems[0].what
