"""Check of format files: each feature that is needed is announced, none is missing, and repair makes them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifactfs.model import Validator
from artifactfs.reference.base import Described
from artifactfs.reference.references import make_entry
from artifactfs.repository.check import check_repository
from artifactfs.repository.copy import CopyOptions, copy_version
from artifactfs.repository.format import find_format
from artifactfs.repository.put import put_plan
from artifactfs.repository.repair import find_repairable, repair
from artifactfs.repository.repository import Repository
from artifactfs.repository.sources import Planned, add_entry
from artifactfs.testing.repositories import TIME_NS, commit_files, make_repository
from tests.repository.prune.support import delete_version, open_listed


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """Return a repository without any feature."""
    with make_repository(tmp_path, use_index=False, packed_below=0) as found:
        commit_files(found, "animals", {b"a": b"alpha"})
        yield found


def path_of(repository: Repository, key: str) -> Path:
    return Path(repository.location, key)


def commit_reference(repository: Repository) -> None:
    plan = Planned()
    described = Described("file:///elsewhere", 3, Validator("modified", "1700000000000000000"), TIME_NS)
    add_entry(plan, b"d/far", make_entry(b"d/far", described))
    put_plan(repository, "far", plan)


def commit_copy(repository: Repository) -> None:
    """Copy a version, and remove it: its record still says where it was made."""
    collection = repository.get_collection("animals")
    other = Path(repository.location).parent / "other"
    with make_repository(other, use_index=False, packed_below=0) as source:
        commit_files(source, "animals", {b"b": b"beta"})
        collection = source.get_collection("animals")
        copy_version(source, repository, (collection, collection.versions[0]), CopyOptions(name="copied"))
    delete_version(repository, 0, "copied")


def commit_packs(repository: Repository) -> None:
    with make_repository(Path(repository.location).parent, use_index=False) as packing:
        commit_files(packing, "packed", {b"b": b"beta"})


@pytest.mark.parametrize(
    ("commit", "feature", "what"),
    [
        (commit_packs, "packs", "there are packs"),
        (commit_reference, "references", "there are references"),
        (commit_copy, "origins", "there are copies that say where they were made"),
    ],
)
def test_a_feature_that_no_format_file_announces(
    repository: Repository, commit: Callable[[Repository], None], feature: str, what: str
) -> None:
    commit(repository)
    assert check_repository(repository).damage == ()
    path = path_of(repository, "format/2.json")
    content = path.read_bytes()
    path.unlink()
    [damage] = check_repository(repository).damage
    assert (damage.key, damage.unannounced) == ("format/2.json", (feature,))
    assert f"{what}, and no format file says so" in damage.what
    assert find_repairable(repository, (damage,)) == ["format/2.json"]
    found = repair(repository, (damage,))
    assert (found.rebuilt, found.set_aside, found.left) == (("format/2.json",), (), ())
    assert path.read_bytes() == content
    assert check_repository(repository).damage == ()


def test_several_features_are_announced_one_after_the_other(repository: Repository) -> None:
    for commit in (commit_packs, commit_reference, commit_copy):
        commit(repository)
    for number in (2, 3, 4):
        path_of(repository, f"format/{number}.json").unlink()
    [damage] = check_repository(repository).damage
    assert damage.what.startswith("format/2.json is missing: there are packs and references and copies")
    assert repair(repository, (damage,)).rebuilt == ("format/2.json", "format/3.json", "format/4.json")
    assert check_repository(repository).damage == ()


def test_nothing_is_missed_where_nothing_needs_it(repository: Repository) -> None:
    commit_reference(repository)
    delete_version(repository, 0, "far")
    path_of(repository, "format/2.json").unlink()
    assert check_repository(repository).damage == ()


@pytest.mark.parametrize("data", [b"damaged", None])
def test_a_format_file_that_is_superseded(repository: Repository, data: bytes | None) -> None:
    """The newest says all that is in force, and more than the one that it takes the place of."""
    commit_packs(repository)
    commit_reference(repository)
    path = path_of(repository, "format/2.json")
    if data is None:
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(data)
    [damage] = check_repository(repository).damage
    assert damage.key == "format/2.json"
    found = repair(repository, (damage,))
    assert (found.rebuilt, found.left) == (("format/2.json",), ())
    assert found.set_aside == (() if data is None else ("format/2.json",))
    assert check_repository(repository).damage == ()
    path_of(repository, "format/3.json").unlink()
    assert check_repository(repository).damage == ()


def test_a_format_file_of_another_repository(repository: Repository) -> None:
    commit_packs(repository)
    newest = find_format(repository.store)
    assert newest is not None
    other = newest.repository[::-1].encode()
    path = path_of(repository, "format/1.json")
    line = path.read_bytes().splitlines()[0].replace(newest.repository.encode(), other)
    path.chmod(0o644)
    path.write_bytes(line)  # without a seal, as before the first release
    [damage] = check_repository(repository).damage
    assert "is of another repository" in damage.what
    found = repair(repository, (damage,))
    assert (found.rebuilt, found.left) == ((), ("format/1.json",))


def test_strange_names_beside_format_files(repository: Repository) -> None:
    for key in ("format/README", "format/0.json", "format/1.json.old"):
        repository.store.create(key, b"x")
    report = check_repository(repository)
    assert (report.damage, report.strays) == ((), ("format/0.json", "format/1.json.old", "format/README"))


def test_in_a_store_elsewhere_nothing_is_set_aside() -> None:
    repository = open_listed(packed_below=1 << 20)
    commit_files(repository, "animals", {b"a": b"alpha"})
    repository.store.delete(["format/1.json"])
    assert repair(repository, check_repository(repository).damage).rebuilt == ("format/1.json",)
    repository.store.delete(["format/1.json"])
    repository.store.create("format/1.json", b"damaged")
    damage = check_repository(repository).damage
    assert find_repairable(repository, damage) == []
    found = repair(repository, damage)
    assert (found.rebuilt, found.left) == ((), ("format/1.json",))
    assert "delete it" in found.why["format/1.json"]
    repository.store.delete(["format/1.json"])
    assert repair(repository, check_repository(repository).damage).left == ()
    assert check_repository(repository).damage == ()
