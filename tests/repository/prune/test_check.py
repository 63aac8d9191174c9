"""Check finds whatever is damaged, says where it shows, and repair makes room for the same files to heal it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.errors import ArtifactFSError, IntegrityError
from artifactfs.model import FileEntry
from artifactfs.repository import changes
from artifactfs.repository.check import check_repository
from artifactfs.repository.prune import find_garbage
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repair import find_repairable, repair
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import commit_files, make_repository
from tests.repository.prune.support import delete_version, object_keys, prune

FIRST = {b"a": b"alpha", b"dir": {b"b": b"beta" * 1000, b"same": b"alpha"}}
SECOND = {**FIRST, b"c": b"gamma"}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path, use_index=False, packed_below=0) as found:
        commit_files(found, "animals", FIRST)
        commit_files(found, "animals", SECOND)
        commit_files(found, "plants", {b"deep": {b"er": {b"a": b"alpha"}}})
        yield found


def path_of(repository: Repository, key: str) -> Path:
    return Path(repository.location, key)


def write(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def blob_of(repository: Repository, path: bytes, name: str = "animals", number: int = 1) -> str:
    root = repository.get_collection(name).versions[number].root
    entry = Trees(repository.blobs).find_entry(root, path)
    assert isinstance(entry, FileEntry)
    return f"blobs/{entry.digest.hex[:2]}/{entry.digest.hex}"


def test_a_whole_repository_has_no_damage(repository: Repository) -> None:
    delete_version(repository, 0)
    report = check_repository(repository, share=1)
    assert report.damage == ()
    assert (report.collections, report.records, report.versions) == (2, 4, 2)
    garbage = find_garbage(repository)
    assert (report.objects, report.unreached) == (garbage.reached, garbage.total.count)
    sizes = {key: path_of(repository, key).stat().st_size for key in object_keys(repository)}
    assert report.read_size == sum(size for key, size in sizes.items() if key.startswith("blobs/")), "each blob once"
    assert report.strays == ()


def test_a_missing_file_is_named_with_all_places(repository: Repository) -> None:
    key = blob_of(repository, b"a")
    path_of(repository, key).unlink()
    [damage] = check_repository(repository).damage
    assert damage.key == key
    assert sorted(damage.places.listed) == [
        ("animals:v0", b"a"),
        ("animals:v0", b"dir/same"),
        ("animals:v1", b"a"),
        ("animals:v1", b"dir/same"),
        ("plants:v0", b"deep/er/a"),
    ]
    assert damage.places.count == 5


def test_other_sizes_are_found_without_reading(repository: Repository) -> None:
    key = blob_of(repository, b"c")
    write(path_of(repository, key), b"gamma!")
    [damage] = check_repository(repository).damage
    assert (damage.key, damage.places.listed) == (key, [("animals:v1", b"c")])
    assert "6 bytes instead of 5" in damage.what


def test_other_bytes_are_found_by_reading(repository: Repository) -> None:
    key = blob_of(repository, b"c")
    write(path_of(repository, key), b"GAMMA")
    assert check_repository(repository).damage == ()
    [damage] = check_repository(repository, share=1).damage
    assert (damage.key, damage.places.listed) == (key, [("animals:v1", b"c")])


def test_a_damaged_directory_is_named_by_its_path(repository: Repository) -> None:
    root = repository.get_collection("plants").versions[0].root
    entry = Trees(repository.blobs).find_entry(root, b"deep/er")
    key = f"trees/{entry.digest.hex[:2]}/{entry.digest.hex}"  # type: ignore[union-attr]
    data = bytearray(path_of(repository, key).read_bytes())
    data[-1] ^= 1
    write(path_of(repository, key), bytes(data))
    [damage] = check_repository(repository).damage
    assert (damage.key, damage.places.listed) == (key, [("plants:v0", b"deep/er")])


def test_damage_that_shows_in_very_many_places_is_counted(repository: Repository) -> None:
    commit_files(repository, "many", {b"%04d" % number: b"all alike" for number in range(1500)})
    path_of(repository, blob_of(repository, b"0000", "many", 0)).unlink()
    [damage] = check_repository(repository).damage
    assert (damage.places.count, len(damage.places.listed)) == (1500, 1000)


def test_shared_trees_are_read_once(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        commit_files(repository, "animals", SECOND)
    read: list[object] = []
    original = repository.blobs.read_stored_tree
    monkeypatch.setattr(repository.blobs, "read_stored_tree", lambda *args: (read.append(args), original(*args))[1])
    check_repository(repository)
    assert len(read) == len(set(read)) == len([key for key in object_keys(repository) if key.startswith("trees/")])


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_part_of_the_files_is_read(repository: Repository, share: float) -> None:
    commit_files(repository, "many", {b"%d" % number: b"%d" % number for number in range(400)})
    seen = {check_repository(repository, share=share).read_size for _ in range(3)}
    total = check_repository(repository, share=1).read_size - 4000
    assert all(share * total * 0.5 < size - 4000 * (size > 4000) < share * total * 1.6 for size in seen)
    assert len(seen) > 1, "another part each time"


def test_records_are_checked(repository: Repository) -> None:
    for number in range(3):
        repository.append("plants", lambda state, n=number: changes.set_aliases(state, version=0, aliases=[f"a{n}"]))
    path_of(repository, "collections/plants/log/00000000000000000003").unlink()
    write(path_of(repository, "collections/plants/log/00000000000000000004"), b"{}\n")
    report = check_repository(repository)
    assert [damage.key for damage in report.damage] == [
        "collections/plants/log/00000000000000000003",
        "collections/plants/log/00000000000000000004",
    ]
    assert report.versions == 3, "what came before the damage is looked at"


def test_what_runs_leave_is_no_damage_unless_it_is(repository: Repository) -> None:
    from artifactfs.runs.history import RunLog

    runs = RunLog(repository.store, clock=repository.clock, random=os.urandom)
    run = runs.start(author="ann").run
    runs.keep_files(run, [("animals:v1", "cat", 3), ("animals:v1", "dog", 4)])
    runs.finish(run, exit_code=0)
    runs.resume(runs.get_run(run), author="ann")
    assert check_repository(repository).damage == ()
    listed = next(key for key in repository.store.iter_keys("runs/") if key.endswith("/files-1"))
    write(path_of(repository, listed), b'{"artifact":"animals:v1"')
    assert [damage.key for damage in check_repository(repository).damage] == [listed]


def test_a_record_of_another_log_is_found(repository: Repository) -> None:
    """Though its seal is good."""
    source = path_of(repository, "collections/animals/log/00000000000000000001").read_bytes()
    write(path_of(repository, "collections/plants/log/00000000000000000001"), source)
    [damage] = check_repository(repository).damage
    assert "belongs to the collection 'animals'" in damage.what


def with_checkpoint(repository: Repository) -> str:
    for number in range(256):
        repository.append("plants", lambda state, n=number: changes.set_aliases(state, version=0, aliases=[f"a{n}"]))
    return "collections/plants/checkpoint/00000000000000000256"


def test_checkpoints_are_checked(repository: Repository) -> None:
    from msgspec.structs import replace

    from artifactfs.repository.checkpoint import decode_checkpoint, encode_checkpoint

    key = with_checkpoint(repository)
    assert check_repository(repository).damage == ()
    state = decode_checkpoint(repository.store.read(key), key=key)
    write(path_of(repository, key), encode_checkpoint(replace(state, aliases={**state.aliases, "evil": 0})))
    [damage] = check_repository(repository).damage
    assert "is not the state" in damage.what
    repaired = repair(repository, (damage,))
    assert repaired.set_aside == (key,)
    assert check_repository(repository).damage == ()
    assert "evil" not in repository.log.load("plants").aliases


def test_a_checkpoint_helps_past_a_damaged_record(repository: Repository) -> None:
    with_checkpoint(repository)
    commit_files(repository, "plants", {b"late": b"late"})
    path_of(repository, "collections/plants/log/00000000000000000002").unlink()
    path_of(repository, blob_of(repository, b"late", "plants", 1)).unlink()
    report = check_repository(repository)
    assert [damage.places.listed for damage in report.damage if damage.places.count] == [[("plants:v1", b"late")]]


def test_strange_names_are_told_and_left(repository: Repository) -> None:
    strange = ["blobs/README", "collections/.hidden/log/1", "collections/plants/log/x", "prune/x/y", "else/1"]
    for key in strange:
        repository.store.create(key, b"x")
    report = check_repository(repository, share=1)
    assert set(report.strays) == {
        "blobs/README",
        "collections/.hidden",
        "collections/plants/log/x",
        "prune/x/y",
        "else",
    }
    assert report.damage == ()


def test_a_prune_meanwhile_is_no_damage(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    from artifactfs.repository.check_logs import LogAudit

    original = LogAudit.check

    def check_and_prune(audit: LogAudit) -> None:
        original(audit)
        delete_version(repository, 1)
        assert prune(repository).count == 2

    monkeypatch.setattr(LogAudit, "check", check_and_prune)
    assert check_repository(repository, share=1).damage == ()


def test_what_is_set_aside_heals_when_it_is_stored_again(repository: Repository) -> None:
    blob, missing = blob_of(repository, b"c"), blob_of(repository, b"dir/b")
    write(path_of(repository, blob), b"GAMMA")
    path_of(repository, missing).unlink()
    root = repository.get_collection("animals").versions[1].root.tree[7:]
    tree = f"trees/{root[:2]}/{root}"
    write(path_of(repository, tree), b"damaged")
    damage = check_repository(repository, share=1).damage
    repaired = repair(repository, damage)
    assert repaired.set_aside == tuple(sorted([blob, tree]))
    assert Path(repaired.directory, blob).read_bytes() == b"GAMMA"
    assert repaired.left == ()
    assert {item.key for item in check_repository(repository).damage} == {missing, tree}
    commit_files(repository, "animals", SECOND)
    assert check_repository(repository, share=1).damage == ()
    assert check_repository(repository, share=1).strays == ()


def test_a_damaged_record_stays(repository: Repository) -> None:
    key = "collections/plants/log/00000000000000000001"
    write(path_of(repository, key), b"damaged")
    repaired = repair(repository, check_repository(repository).damage)
    assert (repaired.set_aside, repaired.left) == ((), (key,))
    assert path_of(repository, key).exists()


@pytest.fixture
def packed(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path, use_index=False) as found:
        for content in (FIRST, SECOND):
            commit_files(found, "animals", content)
        yield found


def test_a_whole_repository_with_packs(packed: Repository) -> None:
    report = check_repository(packed, share=1)
    assert (report.damage, report.unreached, report.strays) == ((), 0, ())
    assert report.objects == len(object_keys(packed))
    assert report.read_size == sum(path_of(packed, key).stat().st_size for key in object_keys(packed)), "each once"


def test_of_a_damaged_pack_only_what_is_damaged_is_named(packed: Repository) -> None:
    pack = next(key for key in object_keys(packed) if b"beta" in path_of(packed, key).read_bytes())
    path = path_of(packed, pack)
    write(path, path.read_bytes().replace(b"beta", b"BETA", 1))
    assert check_repository(packed).damage == ()
    [damage] = check_repository(packed, share=1).damage
    assert damage.key == pack
    assert sorted(damage.places.listed) == [("animals:v0", b"dir/b"), ("animals:v1", b"dir/b")]
    repaired = repair(packed, (damage,))
    assert (repaired.set_aside, repaired.left) == ((), (pack,)), "the rest of it is whole"


@pytest.mark.parametrize("size", [0, 10, None])
def test_a_pack_that_is_cut_short_or_missing(packed: Repository, size: int | None) -> None:
    pack = next(
        key for key in object_keys(packed) if key.startswith("packs/") and b"beta" in path_of(packed, key).read_bytes()
    )
    if size is None:
        path_of(packed, pack).unlink()
    else:
        write(path_of(packed, pack), path_of(packed, pack).read_bytes()[:size])
    [damage] = check_repository(packed).damage
    assert damage.key == pack
    assert ("animals:v1", b"dir/b") in damage.places.listed


@pytest.mark.parametrize("packed_below", [0, 1 << 20], ids=["loose", "packs"])
def test_a_flipped_bit_anywhere_is_found_and_never_served(tmp_path: Path, packed_below: int) -> None:
    """One bit of each byte, of small objects; some of large ones."""
    from artifactfs.clock import SystemClock
    from artifactfs.runs.history import RunLog

    with make_repository(tmp_path, use_index=False, packed_below=packed_below) as repository:
        big = tmp_path / "big"
        big.write_bytes(random.Random(1).randbytes((4 << 20) + 5))
        put_paths(repository, "big", [Source(os.fsencode(big))])
        commit_files(repository, "animals", {b"a": b"alpha", b"d": {b"b": b"beta"}})
        repository.append("animals", lambda state: changes.pin(state, pin="p", version=0, purpose="test"))
        runs = RunLog(repository.store, clock=SystemClock(), random=os.urandom)
        runs.finish(runs.start(author="ann").run, exit_code=0)
        expected = contents(repository)
        keys = sorted(repository.store.iter_keys(""))
        folders = {"packs", "treepacks"} if packed_below else {"trees"}
        assert {key.split("/")[0] for key in keys} == {"blobs", "sums", "collections", "runs", "format"} | folders
    for key in keys:
        path = tmp_path / "repository" / key
        whole = path.read_bytes()
        step = 1 if len(whole) < 40 else len(whole) // 25
        for offset in {*range(0, len(whole), step), len(whole) - 1}:
            data = bytearray(whole)
            data[offset] ^= 1 << offset % 8
            write(path, bytes(data))
            try:
                with make_repository(tmp_path, use_index=False, packed_below=packed_below) as repository:
                    report = check_repository(repository, share=1)
                    assert key in {damage.key for damage in report.damage}, (key, offset)
                    assert contents(repository).items() <= expected.items(), (key, offset)
            except IntegrityError:
                assert key.startswith("format/")
        write(path, whole)
    with make_repository(tmp_path, use_index=False, packed_below=packed_below) as repository:
        assert check_repository(repository, share=1).damage == ()
        assert contents(repository) == expected


def contents(repository: Repository) -> dict[tuple[str, int, bytes], bytes]:
    """Return the content of every file that can be read."""
    found: dict[tuple[str, int, bytes], bytes] = {}
    trees = Trees(repository.blobs)
    for name in ("animals", "big"):
        try:
            for version in repository.load_state(name).versions.values():
                for path, entry in trees.iter_tree(version.root):
                    if isinstance(entry, FileEntry):
                        try:
                            file = repository.open_file(entry)
                            found[name, version.number, path] = file.read_at(0, entry.size)
                            file.close()
                        except ArtifactFSError:
                            continue
        except ArtifactFSError:
            continue
    return found


def break_object(path: Path, how: str) -> None:
    """Flip a bit in the middle of a stored object, cut it short there, or remove it."""
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut short":
        write(path, data[: len(data) // 2])
    else:
        middle = len(data) // 2
        write(path, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


@pytest.mark.parametrize("how", ["flipped", "cut short", "missing"])
def test_a_damaged_pack_is_cleared_once_its_content_is_stored_again(tmp_path: Path, how: str) -> None:
    files = {b"%d" % number: b"content %d" % number for number in range(50)}
    with make_repository(tmp_path, use_index=False) as repository:
        commit_files(repository, "animals", files)
        (key,) = repository.store.iter_keys("packs/")
        break_object(path_of(repository, key), how)
        commit_files(repository, "plants", {b"!": b"another", **files})
        [damage] = check_repository(repository, share=1).damage
        assert (damage.key, damage.places.whole, damage.places.count) == (key, True, 0)
        repaired = repair(repository, (damage,))
        assert (repaired.set_aside, repaired.left) == (() if how == "missing" else (key,), ())
        assert check_repository(repository, share=1).damage == ()


def test_repair_asks_for_nothing_where_all_is_lost(packed: Repository) -> None:
    for key in [key for key in object_keys(packed) if key.startswith("packs/")]:
        path_of(packed, key).unlink()
    damage = check_repository(packed).damage
    assert damage
    assert find_repairable(packed, damage) == []
    assert repair(packed, damage).versions == 0
