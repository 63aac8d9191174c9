"""What is needed of packs that are mostly dead, or small, is written again; nothing else changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import PACKS_PREFIX, TREEPACKS_PREFIX, digest_key
from artifactfs.blobstore.local import LocalStore
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import StorageFullError
from artifactfs.model import FileEntry
from artifactfs.repository import changes
from artifactfs.repository.check import check_repository
from artifactfs.repository.condemning import ListExclusion
from artifactfs.repository.exclusion import LockExclusion
from artifactfs.repository.format import open_format
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.repack import RepackResult, repack
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import StagingArea
from artifactfs.repository.trees import Trees
from artifactfs.repository.usage import MERGE_FROM, Repacking, choose_packs
from artifactfs.testing.forgetful import CountingScratch, CrashError, ForgetfulDisk
from artifactfs.testing.repositories import commit_files, make_repository
from tests.repository.prune.support import StoppedClock, delete_version, open_listed

FEW = {b"a": b"alpha", b"dir": {b"b": b"beta", b"deep": {b"c": b"gamma"}}}
MANY = {**FEW, b"large": b"delta" * 1000, b"other": {b"d": b"epsilon" * 1000}}


def read_placed(repository: Repository) -> dict[str, dict[bytes, bytes]]:
    """Return every file of every live version, read from where its tree says that it lies."""
    found: dict[str, dict[bytes, bytes]] = {}
    trees = Trees(repository.blobs)
    for name in repository.collection_names():
        for version in repository.get_collection(name).versions.values():
            placed = trees.iter_placed(version.root.as_entry(), b"", root_place(version.root))
            found[f"{name}:{version.name}"] = {
                path: repository.open_file(entry, place).read_at(0, 1 << 20)
                for path, entry, place in placed
                if isinstance(entry, FileEntry)
            }
    return found


def root_place(root: object) -> object:
    from artifactfs.repository.trees import root_placement

    return root_placement(root)


def packs(repository: Repository) -> set[str]:
    return {key for prefix in (PACKS_PREFIX, TREEPACKS_PREFIX) for key in repository.store.iter_keys(prefix)}


def repack_and_prune(repository: Repository) -> RepackResult | None:
    garbage = find_garbage(repository)
    repacking = choose_packs(repository.store, garbage.usage)
    result = repack(repository, repacking, garbage.roots) if repacking.packs else None
    delete_garbage(repository, find_garbage(repository))
    return result


@pytest.fixture(params=["local", "listed"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    if request.param == "local":
        with make_repository(tmp_path) as found:
            yield found
    else:
        found = open_listed(packed_below=1 << 20)
        assert isinstance(found.exclusion, ListExclusion)
        found.exclusion.timing = replace(found.exclusion.timing, grace_seconds=0)
        yield found


def make_dead(repository: Repository) -> str:
    """Leave a pack of which little is needed, and return its key."""
    commit_files(repository, "animals", MANY)
    (pack,) = repository.store.iter_keys(PACKS_PREFIX)
    commit_files(repository, "animals", FEW)
    delete_version(repository, 0)
    return pack


def test_what_is_needed_of_a_mostly_dead_pack_moves(repository: Repository) -> None:
    pack = make_dead(repository)
    before, root = read_placed(repository), repository.get_collection("animals").versions[1].root
    assert find_garbage(repository).usage.live_sizes(PACKS_PREFIX) == {bytes.fromhex(pack[-64:]): 14}
    result = repack_and_prune(repository)
    assert result == RepackResult(versions=1, skipped=(), files=3, size=14)
    assert pack not in packs(repository)
    assert read_placed(repository) == before
    now = repository.get_collection("animals").versions[1].root
    assert (now.tree, now.content) == (root.tree, root.content)
    assert now.placement != root.placement
    assert sum(repository.store.find_size(key) or 0 for key in repository.store.iter_keys(PACKS_PREFIX)) == 14
    assert not check_repository(repository, share=1.0).damage
    assert repack_and_prune(repository) is None, "a second time there is nothing to do"


def test_a_pack_of_which_half_is_needed_stays(repository: Repository) -> None:
    commit_files(repository, "animals", {b"a": b"x" * 100, b"b": b"y" * 100})
    commit_files(repository, "animals", {b"a": b"x" * 100})
    delete_version(repository, 0)
    kept = set(repository.store.iter_keys(PACKS_PREFIX))
    repack_and_prune(repository)
    assert set(repository.store.iter_keys(PACKS_PREFIX)) == kept


def test_many_small_packs_become_one(repository: Repository) -> None:
    for number in range(MERGE_FROM - 1):
        commit_files(repository, "animals", {b"%d" % n: b"%d" % n for n in range(number + 1)})
    assert repack_and_prune(repository) is None
    commit_files(repository, "plants", {b"z": b"z"})
    before = read_placed(repository)
    result = repack_and_prune(repository)
    assert result is not None
    assert (result.versions, result.files) == (MERGE_FROM, MERGE_FROM)
    assert len(list(repository.store.iter_keys(PACKS_PREFIX))) == 1
    assert len(list(repository.store.iter_keys(TREEPACKS_PREFIX))) == 1
    assert read_placed(repository) == before
    assert not check_repository(repository, share=1.0).damage


def test_a_reader_that_knows_the_old_places_goes_on(tmp_path: Path) -> None:
    with make_repository(tmp_path, use_index=False) as repository, make_repository(tmp_path, use_index=False) as other:
        make_dead(repository)
        version = other.get_collection("animals").versions[1]
        trees = Trees(other.blobs)
        placed = list(trees.iter_placed(version.root.as_entry(), b"", root_place(version.root)))
        repack_and_prune(repository)
        other.blobs.forget()
        files = [(path, entry, place) for path, entry, place in placed if isinstance(entry, FileEntry)]
        read = {path: other.open_file(entry, place).read_at(0, 99) for path, entry, place in files}
        assert read == {b"a": b"alpha", b"dir/b": b"beta", b"dir/deep/c": b"gamma"}
        assert read_placed(other) == read_placed(repository)


def test_pinned_versions_that_were_deleted_move_too(repository: Repository) -> None:
    make_dead(repository)
    repository.append("animals", lambda state: changes.pin(state, pin="ab" * 16, version=1, purpose="test"))
    commit_files(repository, "animals", {b"new": b"new"})
    delete_version(repository, 1)
    result = repack_and_prune(repository)
    assert result is not None
    assert result.versions == 1
    root = repository.load_state("animals").deleted[1][1]
    placed = Trees(repository.blobs).iter_placed(root.as_entry(), b"", root_place(root))
    files = {
        path: repository.open_file(entry, place).read_at(0, 9)
        for path, entry, place in placed
        if place and isinstance(entry, FileEntry)
    }
    assert files == {b"a": b"alpha", b"dir/b": b"beta", b"dir/deep/c": b"gamma"}


@pytest.mark.parametrize("changed", [None, b"dir/b", b"new"])
@pytest.mark.parametrize("is_live", [True, False], ids=["live", "deleted"])
def test_what_was_staged_before_is_committed_as_it_lies_now(
    tmp_path: Path, changed: bytes | None, *, is_live: bool
) -> None:
    """A commit takes what did not change from its base unread: it must not take places that are gone."""
    with make_repository(tmp_path, use_index=False) as repository:
        make_dead(repository)
        area = StagingArea(repository)
        staging = area.create("animals", version=repository.get_collection("animals").versions[1])
        commit_files(repository, "animals", {b"other": b"other"})
        if not is_live:
            delete_version(repository, 1)
        assert repack_and_prune(repository) is not None
        repository.blobs.forget()
        if changed is not None:
            target = Path(os.fsdecode(os.path.join(staging.upper, changed)))
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(b"changed")
        made = area.commit(staging).result.version
        assert not check_repository(repository, share=1.0).damage
        expected = {b"a": b"alpha", b"dir/b": b"beta", b"dir/deep/c": b"gamma"}
        assert read_placed(repository)[f"animals:{made.name}"] == {
            **expected,
            **({changed: b"changed"} if changed else {}),
        }
        repack_and_prune(repository)


def test_a_damaged_file_stays_where_it_is(tmp_path: Path) -> None:
    with make_repository(tmp_path, use_index=False) as repository:
        pack = make_dead(repository)
        path = Path(repository.location, pack)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes().replace(b"alpha", b"alphA"))
        repository.blobs.forget()
        result = repack_and_prune(repository)
        assert result is not None
        assert result.files == 2
        assert pack in packs(repository), "its damage is still found"
        assert [damage.key for damage in check_repository(repository, share=1.0).damage] == [pack]


def test_a_damaged_page_leaves_its_version_as_it_is() -> None:
    repository = open_listed(packed_below=1 << 20)
    make_dead(repository)
    garbage = find_garbage(repository)
    repacking = choose_packs(repository.store, garbage.usage)
    for key in list(repository.store.iter_keys(TREEPACKS_PREFIX)):
        repository.store.delete([key])
    repository.blobs.forget()
    assert repack(repository, repacking, garbage.roots).skipped == ("animals:v0", "animals:v1")


def test_a_commit_between_repacking_and_deleting_keeps_what_it_uses(repository: Repository) -> None:
    make_dead(repository)
    garbage = find_garbage(repository)
    repack(repository, choose_packs(repository.store, garbage.usage), garbage.roots)
    found = find_garbage(repository)
    commit_files(repository, "plants", MANY)
    delete_garbage(repository, found)
    assert read_placed(repository)["plants:v0"][b"other/d"] == b"epsilon" * 1000


def test_nothing_to_repack() -> None:
    assert Repacking().freed == 0


@pytest.fixture(params=["lock", "list"])
def open_on(request: pytest.FixtureRequest, tmp_path: Path):
    clock = StoppedClock()

    def open_it(disk: ForgetfulDisk) -> Repository:
        disk.make_directory("/r")
        disk.sync_directory("")
        store = LocalStore("/r", disk=disk, scratch=CountingScratch(disk, "/r/tmp"))
        found = open_format(store, create=True, now_ns=1, random=os.urandom)
        repository = Repository(
            store,
            repository_format=found,
            location="/r",
            state_directory="/dev/null",
            author="tester",
            clock=clock,
            random=os.urandom,
            index=None,
            packed_below=1 << 20,
        )
        assert isinstance(repository.exclusion, ListExclusion)
        repository.exclusion.timing = replace(repository.exclusion.timing, grace_seconds=0)
        if request.param == "lock":
            repository.exclusion = LockExclusion(str(tmp_path / "lock"), clock=clock)
        return repository

    return open_it


@pytest.mark.parametrize("keeps_names", [False, True], ids=["forgets names", "keeps names without bytes"])
def test_a_crash_at_any_step_loses_nothing(open_on, *, keeps_names: bool) -> None:
    def prepared() -> ForgetfulDisk:
        disk = ForgetfulDisk()
        make_dead(open_on(disk))
        return disk.after_crash(keeps_names=False)

    whole = read_placed(open_on(prepared()))
    step = 0
    while True:
        disk = prepared()
        repository = open_on(disk)
        disk.crash_at = disk.steps + step
        try:
            repack_and_prune(repository)
        except CrashError:
            pass
        else:
            break
        again = open_on(disk.after_crash(keeps_names=keeps_names))
        assert read_placed(again) == whole, f"after a crash at step {step}"
        repack_and_prune(again)
        assert read_placed(again) == whole
        assert find_garbage(again).total.count == 0
        assert not check_repository(again, share=1.0).damage
        step += 1
    assert step > 10


def test_a_full_disk_loses_nothing(open_on) -> None:
    failed = 0
    for room in range(0, 4000, 150):
        disk = ForgetfulDisk()
        repository = open_on(disk)
        make_dead(repository)
        whole = read_placed(repository)
        disk.room = room
        try:
            repack_and_prune(repository)
        except StorageFullError:
            failed += 1
        disk.room = None
        assert read_placed(repository) == whole
        repack_and_prune(repository)
        assert read_placed(repository) == whole
        assert find_garbage(repository).total.count == 0
    assert 0 < failed < 27


def test_a_key_is_counted_once_however_many_versions_share_it() -> None:
    repository = open_listed(MemoryStore(), packed_below=1 << 20)
    for number in range(3):
        commit_files(repository, "animals", {**FEW, b"%d" % number: b"x"})
    usage = find_garbage(repository).usage
    for pack, live in usage.live_sizes(PACKS_PREFIX).items():
        assert live == repository.store.find_size(digest_key(PACKS_PREFIX, pack))


def test_an_empty_file_does_not_hide_the_one_that_begins_where_it_lies() -> None:
    """Otherwise the pack seems to be dead, and each prune writes it again."""
    repository = open_listed(packed_below=1 << 20)
    commit_files(repository, "animals", {b"z": b"", b"a": b"alpha" * 100})
    usage = find_garbage(repository).usage
    (live,) = usage.live_sizes(PACKS_PREFIX).values()
    assert live == 500
    assert choose_packs(repository.store, usage).packs == frozenset()


def only_pack(repository: Repository, before: set[str]) -> bytes:
    """Return the raw digest of the pack that came since."""
    (key,) = (key for key in packs(repository) - before if key.startswith(PACKS_PREFIX))
    return bytes.fromhex(key[-64:])


def test_a_version_that_another_prune_moved_meanwhile_stays_where_that_put_it(tmp_path: Path) -> None:
    """A prune that waits for its user knows places of before another one, and of packs that this deleted."""
    with make_repository(tmp_path, use_index=False) as slow, make_repository(tmp_path, use_index=False) as fast:
        moved: list[bytes] = []
        for number, name in enumerate((b"x", b"y")):
            before = packs(slow)
            commit_files(slow, "old", {name: name * 100, b"junk": b"%d" % number * 5000})
            moved.append(only_pack(slow, before))
        slow.learn_places()
        version = commit_files(slow, "animals", {b"keep": {b"z": b"z" * 900}, b"x": b"x" * 100, b"y": b"y" * 100})
        slow.append("old", changes.delete_collection)
        delete_garbage(slow, find_garbage(slow))
        whole = read_placed(slow)
        known = find_garbage(slow)
        placed = Trees(slow.blobs).iter_placed(version.root.as_entry(), b"", root_place(version.root))
        assert {place.pack for _, _, place in placed if place is not None} >= set(moved)
        repack(fast, Repacking(frozenset(moved[:1])), find_garbage(fast).roots)
        assert delete_garbage(fast, find_garbage(fast)).count
        slow.blobs.forget()  # a prune has not read files before it repacks
        repack(slow, Repacking(frozenset(moved)), known.roots)
        delete_garbage(slow, find_garbage(slow))
        slow.blobs.forget()
        assert check_repository(slow, share=1.0).damage == ()
        assert read_placed(slow) == whole
