"""Repair of tree packs, of what only a draft has, and in repositories elsewhere: mended, or said what could not be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.repository.check import Damage, check_repository
from artifactfs.repository.commit import DEFAULT_OPTIONS
from artifactfs.repository.contributing import Contribution, contribute, finish
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.repair import Repaired, repair
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files, make_repository, store_files
from tests.repository.prune.support import StoppedClock, delete_version, open_listed, read_all

TREE = {b"d%d" % folder: {b"f%d" % file: b"content %d %d" % (folder, file) for file in range(3)} for folder in range(4)}
FLAT = {b"f%d" % file: b"content %d" % file for file in range(30)}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path, use_index=False) as found:
        yield found


def flip(repository: Repository, key: str, offset: int) -> None:
    """Flip a bit of an object."""
    data = bytearray(repository.store.read(key))
    data[offset] ^= 1
    repository.store.delete([key])
    repository.store.create(key, bytes(data))
    repository.blobs.forget()


def check(repository: Repository) -> tuple[Damage, ...]:
    return check_repository(repository, share=1).damage


def only(repository: Repository, prefix: str) -> str:
    [key] = repository.store.iter_keys(prefix)
    return key


@pytest.mark.parametrize("offset", [20, -1], ids=["a lower page", "the top page"])
def test_a_tree_pack_whose_pages_are_elsewhere_is_set_aside(repository: Repository, offset: int) -> None:
    commit_files(repository, "animals", TREE)
    expected = read_all(repository)["animals:v0"]
    key = only(repository, "treepacks/")
    flip(repository, key, offset)
    commit_files(repository, "animals", TREE)
    commit_files(repository, "plants", {b"!": b"another", **TREE})
    [damage] = check(repository)
    assert (damage.key, damage.places.count, damage.places.whole) == (key, 0, True)
    found = repair(repository, (damage,))
    assert (found.set_aside, found.left, found.skipped) == ((key,), (), ())
    assert check(repository) == ()
    assert read_all(repository)["animals:v0"] == expected


def test_of_a_tree_pack_with_a_lost_page_the_rest_is_moved(repository: Repository) -> None:
    """v0 has the lost page; v1 has others out of the same tree pack, and reads them elsewhere afterwards."""
    commit_files(repository, "animals", TREE)
    commit_files(repository, "animals", {name: TREE[name] for name in (b"d1", b"d2")})
    expected = read_all(repository)["animals:v1"]
    key = max(repository.store.iter_keys("treepacks/"), key=lambda key: len(repository.store.read(key)))
    flip(repository, key, 20)
    damage = check(repository)
    assert [(item.key, item.places.listed) for item in damage] == [(key, [("animals:v0", b"d0")])]
    found = repair(repository, damage)
    assert (found.versions, found.skipped, found.left) == (1, ("animals:v0",), (key,))
    assert "put the files again" in found.why[key]
    os.rename(Path(repository.location, key), Path(repository.location, "tmp", "away"))
    repository.blobs.forget()
    assert read_all_of(repository, 1) == expected
    os.rename(Path(repository.location, "tmp", "away"), Path(repository.location, key))
    commit_files(repository, "animals", TREE)
    found = repair(repository, check(repository))
    assert (found.set_aside, found.left) == ((key,), ())
    assert check(repository) == ()


def read_all_of(repository: Repository, number: int) -> dict[bytes, bytes]:
    from artifactfs.model import FileEntry
    from artifactfs.repository.trees import Trees, root_placement

    root = repository.get_collection("animals").versions[number].root
    found = Trees(repository.blobs).iter_placed(root.as_entry(), placement=root_placement(root))
    return {
        path: repository.open_file(entry, place).read_at(0, 1000)
        for path, entry, place in found
        if isinstance(entry, FileEntry)
    }


@pytest.mark.parametrize("prefix", ["packs/", "treepacks/"])
def test_a_pack_that_only_a_draft_has_stays_until_the_draft_ends(repository: Repository, prefix: str) -> None:
    drafts = Drafts(repository, random=os.urandom)
    contribute(drafts, "animals", "x", lambda: store_files(repository, TREE), Contribution())
    key = only(repository, prefix)
    flip(repository, key, 25)
    [damage] = check(repository)
    assert damage.places.listed[0][0] == "animals (draft 'x', part 1)"
    found = repair(repository, (damage,))
    assert found.left == (key,)
    assert "put the files again" in found.why[key]
    commit_files(repository, "plants", {b"!": b"another", **TREE})
    [damage] = check(repository)
    assert damage.places.count == 0
    found = repair(repository, (damage,))
    assert found.left == (key,)
    assert "(draft 'x', part 1) is made of it: finish or drop the draft" in found.why[key]
    finish(drafts, "animals", "x", DEFAULT_OPTIONS)
    found = repair(repository, check(repository))
    assert (found.set_aside, found.left) == ((key,), ())
    assert check(repository) == ()
    assert len(read_all(repository)["animals:v0"]) == 12


@pytest.mark.parametrize(
    ("packed_below", "prefix"), [(0, "blobs/"), (0, "trees/"), (1 << 20, "packs/"), (1 << 20, "treepacks/")]
)
def test_a_repository_elsewhere(packed_below: int, prefix: str) -> None:
    """Nothing is set aside there; storing the same again mends it, and what nothing needs any more is pruned."""
    clock = StoppedClock()
    repository = open_listed(clock=clock, packed_below=packed_below)
    commit_files(repository, "animals", TREE)
    expected = read_all(repository)["animals:v0"]
    key = sorted(repository.store.iter_keys(prefix))[0]
    flip(repository, key, 10)
    damage = check(repository)
    assert [item.key for item in damage] == [key]
    found = repair(repository, damage)
    assert (found.directory, found.set_aside, found.left) == ("", (), (key,))
    assert "put" in found.why[key]
    commit_files(repository, "animals", {b"!": b"another", **TREE} if packed_below else TREE)
    damage = check(repository)
    if not packed_below:
        assert damage == (), "it was replaced"
        return
    found = repair(repository, damage)
    assert (found.left, found.why) == ((key,), {key: "nothing needs it any more"})
    assert found.versions > 0
    assert delete_garbage(repository, find_garbage(repository)).count > 0
    assert check(repository) == ()
    assert read_all(repository)["animals:v0"] == expected


def test_what_cannot_be_mended_is_said(repository: Repository) -> None:
    commit_files(repository, "animals", FLAT)
    key = "collections/animals/log/00000000000000000001"
    flip(repository, key, 3)
    found: Repaired = repair(repository, check(repository))
    assert found.left == (key,)
    assert "restore it from a copy" in found.why[key]


def test_a_tree_pack_of_a_removed_version_stays_while_a_mount_shows_it(repository: Repository) -> None:
    commit_files(repository, "animals", TREE)
    key = only(repository, "treepacks/")
    commit_files(repository, "animals", {b"other": b"other"})
    delete_version(repository, 0)
    flip(repository, key, 20)
    [damage] = check(repository)
    found = repair(repository, (damage,), lambda: {("animals", 0)})
    assert found.left == (key,)
    assert "a mount shows animals:v0" in found.why[key]
    found = repair(repository, (damage,))
    assert (found.set_aside, found.left) == ((key,), ())
    delete_garbage(repository, find_garbage(repository))
    assert check(repository) == ()
