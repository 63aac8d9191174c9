"""Check goes on behind damaged log records, and says what cannot be known because of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.repository import changes
from artifactfs.repository.check import CheckReport, Damage, check_repository
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files, make_repository
from tests.repository.prune.support import delete_version

CONTENTS = [{b"f": b"content of %d" % number} for number in range(5)]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path, use_index=False, packed_below=0) as found:
        for content in CONTENTS:
            commit_files(found, "animals", content)
        yield found


def record_of(repository: Repository, seq: int) -> Path:
    return Path(repository.location, f"collections/animals/log/{seq:020}")


def write(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def lose_content(repository: Repository, number: int) -> str:
    """Remove the only file of a version, and return its key."""
    [path] = [
        path for path in Path(repository.location, "blobs").glob("*/*") if path.read_bytes() == CONTENTS[number][b"f"]
    ]
    path.unlink()
    return str(path.relative_to(repository.location))


def by_record(report: CheckReport) -> dict[int, Damage]:
    return {int(item.key[-20:]): item for item in report.damage if item.key.startswith("collections/")}


def lost(item: Damage) -> list[str]:
    return [version for version, _ in item.places.listed]


@pytest.mark.parametrize("data", [b"", b"damaged\n", None])
def test_versions_behind_a_damaged_record_are_looked_at(repository: Repository, data: bytes | None) -> None:
    key = lose_content(repository, 4)
    if data is None:
        record_of(repository, 2).unlink()
    else:
        write(record_of(repository, 2), data)
    report = check_repository(repository)
    assert [item.places.listed for item in report.damage if item.key == key] == [[("animals:v4", b"f")]]
    assert report.versions == 4
    assert report.unreached == 2, "tree and file of the version that is lost"
    [item] = by_record(report).values()
    assert lost(item) == ["animals:v1"]
    assert item.unsure == (), "the record was a commit, since its number is missing"


def test_a_damaged_record_that_was_no_commit(repository: Repository) -> None:
    delete_version(repository, 1)
    delete_version(repository, 3)
    commit_files(repository, "animals", {b"f": b"later"})
    record_of(repository, 6).unlink()
    report = check_repository(repository)
    [item] = by_record(report).values()
    assert (lost(item), item.unsure) == ([], ("animals:v0", "animals:v1", "animals:v2", "animals:v4"))
    assert report.versions == 5


def test_a_lost_version_that_was_removed_is_not_missed(repository: Repository) -> None:
    delete_version(repository, 2)
    record_of(repository, 3).unlink()
    [item] = by_record(check_repository(repository)).values()
    assert lost(item) == []


def test_several_damaged_records(repository: Repository) -> None:
    """Of the last nothing says what it was."""
    for number in range(2):
        repository.append("animals", lambda state, n=number: changes.set_aliases(state, version=4, aliases=[f"a{n}"]))
    record_of(repository, 2).unlink()
    write(record_of(repository, 7), b"x")
    found = by_record(check_repository(repository))
    assert lost(found[2]) == ["animals:v1"]
    assert lost(found[7]) == []
    assert found[7].unsure == ("animals:v0", "animals:v2", "animals:v3", "animals:v4")


def test_a_record_that_was_replaced(repository: Repository) -> None:
    """By one with a good seal: the chain is broken, behind a gap too, and what each record says is looked at."""
    from msgspec.structs import replace

    from artifactfs.repository.records import Commit, decode_record, encode_record

    record_of(repository, 1).unlink()
    key = lose_content(repository, 4)
    path = record_of(repository, 3)
    record, _ = decode_record(path.read_bytes(), key="x")
    assert isinstance(record.body, Commit)
    write(path, encode_record(replace(record, message="another"))[0])
    report = check_repository(repository)
    found = by_record(report)
    assert list(found) == [1, 3, 4]
    assert "has seen" in found[3].what
    assert "does not continue" in found[4].what
    assert found[4].unsure == ("animals:v1", "animals:v2")
    assert [item.places.listed for item in report.damage if item.key == key] == [[("animals:v4", b"f")]]


def test_a_checkpoint_between_two_damaged_records_is_used(repository: Repository) -> None:
    for number in range(256):
        repository.append("animals", lambda state, n=number: changes.set_aliases(state, version=0, aliases=[f"a{n}"]))
    record_of(repository, 2).unlink()
    write(record_of(repository, 261), b"x")
    found = by_record(check_repository(repository))
    assert (lost(found[2]), found[2].unsure) == ([], ()), "the checkpoint says what it said"
    assert found[261].unsure == tuple(f"animals:v{number}" for number in range(5))
