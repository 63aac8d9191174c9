"""Versions in packs: read back identical, stored once, found wherever they lie, and mixed with loose content."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings

from artifactfs.blobstore import packing
from artifactfs.blobstore.keys import blob_key, pack_key, treepack_key
from artifactfs.digest import hash_bytes
from artifactfs.errors import DigestMismatchError, IntegrityError
from artifactfs.model import DirectoryEntry, FileEntry, Placement, Root, Version
from artifactfs.repository import changes
from artifactfs.repository.checkout import checkout
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees, root_placement
from artifactfs.storedpage import encode_stored
from artifactfs.testing.repositories import commit_files, find_stored, make_repository
from tests.repository.tree.support import TREES, Tree, snapshot, write

FILES = {b"a": b"alpha", b"dir": {b"b": b"beta" * 1000, b"c": b"alpha"}, b"e": b""}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path) as repository:
        yield repository


def read_all(repository: Repository, root: Root) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    trees = Trees(repository.blobs)
    for path, entry, place in trees.iter_placed(root.as_entry(), b"", root_placement(root)):
        if isinstance(entry, FileEntry):
            file = repository.open_file(entry, place)
            found[path] = file.read_at(0, 1 << 20)
            file.close()
    return found


ALL = {b"a": b"alpha", b"dir/b": b"beta" * 1000, b"dir/c": b"alpha", b"e": b""}


def objects(repository: Repository) -> set[str]:
    return {key for key in repository.store.iter_keys("") if key.startswith(("packs", "trees", "treep", "blobs"))}


@settings(deadline=None, max_examples=60)
@given(TREES)
def test_any_tree_is_read_back_identical(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as top, pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "PACK_SIZE", 6000)
        patch.setattr(packing, "PACK_COUNT", 3)
        patch.setattr(packing, "STREAM_FROM", 500)
        source = os.path.join(top, "source")
        os.mkdir(source)
        write(tree, os.fsencode(source))
        with make_repository(top) as repository:
            version = put_paths(repository, "data", [Source(os.fsencode(source), b"")]).version
            checkout(repository, version.root, os.fsencode(os.path.join(top, "target")))
            assert not list(repository.store.iter_keys("blobs/"))
        assert snapshot(os.path.join(top, "target")) == snapshot(source)


def test_a_small_change_writes_one_small_pack_and_one_small_tree_pack(repository: Repository, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in range(10):
        (source / str(folder)).mkdir(parents=True)
        for number in range(20):
            (source / str(folder) / str(number)).write_bytes(b"%d %d" % (folder, number) * 100)
    put_paths(repository, "data", [Source(os.fsencode(source), b"")])
    before = objects(repository)
    (source / "3" / "7").write_bytes(b"changed")
    result = put_paths(repository, "data", [Source(os.fsencode(source), b"")])
    new = sorted(objects(repository) - before)
    assert new[0] == pack_key(hash_bytes(b"changed").raw)
    assert new[1].startswith("treepacks/")
    assert len(new) == 2
    assert repository.store.find_size(new[1]) < 4000  # type: ignore[operator]
    assert read_all(repository, result.version.root)[b"3/7"] == b"changed"


def test_what_did_not_change_writes_nothing_but_a_record(repository: Repository) -> None:
    commit_files(repository, "data", FILES)
    before = objects(repository)
    commit_files(repository, "data", FILES)
    commit_files(repository, "other", FILES)
    assert objects(repository) == before


def test_the_same_without_an_index(tmp_path: Path) -> None:
    for _ in range(2):
        with make_repository(tmp_path, use_index=False) as repository:
            version = commit_files(repository, "data", FILES)
            assert read_all(repository, version.root) == ALL


def test_an_index_that_was_deleted_is_filled_from_the_trees(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"alpha")
    seen = []
    for number in range(3):
        with make_repository(tmp_path / "top") as repository:
            repository.index.drop()  # type: ignore[union-attr]
            put_paths(repository, f"data{number}", [Source(os.fsencode(source), b"")])
            seen.append(objects(repository))
    assert seen[0] == seen[1] == seen[2]


def test_what_somebody_else_stored_is_not_stored_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"alpha")
    location = str(tmp_path / "repository")
    from artifactfs.repository.repository import open_repository

    with (
        open_repository(location, state=str(tmp_path / "one"), author="one") as one,
        open_repository(location, state=str(tmp_path / "two"), author="two") as two,
    ):
        put_paths(two, "empty", [Source(os.fsencode(source), b"")])
        before = objects(one)
        put_paths(one, "data", [Source(os.fsencode(source), b"")])
        assert objects(one) == before


def test_loose_content_stays_and_new_content_goes_into_packs(tmp_path: Path) -> None:
    with make_repository(tmp_path, packed_below=0) as old:
        first = commit_files(old, "data", FILES)
        assert not list(old.store.iter_keys("packs/"))
        assert old.format.reader_features == ()
        loose = objects(old)
    with make_repository(tmp_path) as repository:
        again = commit_files(repository, "data", FILES)
        assert objects(repository) == loose
        second = commit_files(repository, "data", {**FILES, b"new": b"new"})
        assert repository.format.reader_features == ("packs",)
        assert read_all(repository, first.root) == read_all(repository, again.root) == ALL
        assert read_all(repository, second.root) == {**ALL, b"new": b"new"}
        assert [key for key in objects(repository) - loose if key.startswith("packs")] == [
            pack_key(hash_bytes(b"new").raw)
        ]
    with make_repository(tmp_path, packed_below=0) as repository:
        assert repository.format.reader_features == ("packs",)
        third = commit_files(repository, "data", {**FILES, b"new": b"new"})
        assert read_all(repository, third.root) == {**ALL, b"new": b"new"}


def test_a_flipped_bit_is_never_served(repository: Repository) -> None:
    version = commit_files(repository, "data", FILES)
    find_stored(repository, version.root, b"dir/b").damage()
    repository.blobs.forget()
    found = Trees(repository.blobs).find_placed(version.root, b"dir/b")
    with pytest.raises(DigestMismatchError):
        repository.open_file(*found)  # type: ignore[arg-type]
    placed = Trees(repository.blobs).find_placed(version.root, b"a")
    assert repository.open_file(*placed).read_at(0, 9) == b"alpha"  # type: ignore[arg-type]


def test_a_lost_pack_is_replaced_by_a_loose_blob(repository: Repository) -> None:
    version = commit_files(repository, "data", {b"a": b"alpha"})
    find_stored(repository, version.root, b"a").file.unlink()
    repository.blobs.forget()
    with pytest.raises(IntegrityError):
        read_all(repository, version.root)
    repository.store.create(blob_key(hash_bytes(b"alpha").raw), b"alpha")
    assert read_all(repository, version.root) == {b"a": b"alpha"}


def relocate(repository: Repository, version: Version) -> Root:
    """Move the one pack and the one tree pack of a version of one directory, as prune does."""
    place = root_placement(version.root)
    stored = repository.blobs.read_tree(version.root.as_entry().digest, place)
    assert place is not None
    packs = {found.pack for found in stored.placements if found is not None}
    moved: dict[bytes, bytes] = {}
    for pack in packs:
        data = repository.store.read(pack_key(pack))
        moved[pack] = hash_bytes(b"++" + data).raw
        repository.store.create(pack_key(moved[pack]), b"++" + data)
        os.unlink(os.path.join(repository.location, pack_key(pack)))
    data = encode_stored(
        stored.page,
        [found and Placement(moved[found.pack], found.offset + 2, found.size) for found in stored.placements],
    )
    name = hash_bytes(data)
    repository.store.create(treepack_key(name.raw), data)
    os.unlink(os.path.join(repository.location, treepack_key(place.pack)))
    state, _ = repository.append(
        "data", lambda now: changes.relocate(now, version=0, placement=(str(name), 0, len(data)))
    )
    return state.versions[0].root


def test_what_was_moved_is_found_by_reading_the_log_again(tmp_path: Path) -> None:
    with make_repository(tmp_path) as repository, make_repository(tmp_path, use_index=False) as reader:
        version = commit_files(repository, "data", {b"a": b"alpha", b"b": b"beta"})
        found = Trees(reader.blobs).find_placed(version.root, b"a")
        new = relocate(repository, version)
        assert new != version.root
        file = reader.open_file(*found)  # type: ignore[arg-type]
        assert file.read_at(0, 9) == b"alpha", "from the place of the old tree"
        assert read_all(reader, version.root) == {b"a": b"alpha", b"b": b"beta"}, "from the old root"
        assert read_all(repository, new) == {b"a": b"alpha", b"b": b"beta"}


def test_content_is_stored_again_after_its_pack_is_gone(repository: Repository) -> None:
    version = commit_files(repository, "data", FILES)
    find_stored(repository, version.root, b"a").file.unlink()
    find_stored(repository, version.root, b"").file.unlink()
    repository.blobs.forget()
    again = commit_files(repository, "data", FILES)
    assert read_all(repository, again.root) == ALL
    assert read_all(repository, version.root) == ALL, "the new trees say where it lies"


def test_a_page_whose_placements_are_stale_is_not_used_again(repository: Repository) -> None:
    version = commit_files(repository, "data", {b"d": {b"a": b"alpha"}})
    find_stored(repository, version.root, b"d/a").file.unlink()
    repository.blobs.forget()
    # The same content lies in another pack now, and the old page names one that is gone.
    other = commit_files(repository, "other", {b"x": b"first", b"y": b"alpha"})
    again = commit_files(repository, "data", {b"d": {b"a": b"alpha"}})
    _, place = Trees(repository.blobs).find_placed(again.root, b"d/a")
    _, expected = Trees(repository.blobs).find_placed(other.root, b"y")
    assert place == expected


def test_a_large_directory_streams_and_gives_the_pages_of_one_built_at_once(repository: Repository) -> None:
    from artifactfs.manifest import build_directory
    from artifactfs.repository.treebuilder import TreeBuilder

    with repository.blobs.begin() as batch:
        blob = batch.store_bytes(b"x")
        files = [FileEntry(b"%06d" % number, 0o644, number, 1, blob.sha256) for number in range(20_000)]
        writer = TreeBuilder(batch).begin_directory()
        for file in files:
            writer.add(file, blob.place)
        top = writer.finish()
        batch.flush()
    assert top.page.tree == build_directory(files)[-1].tree
    entry = DirectoryEntry(b"/", 0o755, 0, top.page.tree, top.page.content, top.page.size, top.page.count)
    from artifactfs.repository.treepacks import as_placement

    found = Trees(repository.blobs).load_entries(entry, as_placement(top.place))
    assert [item for item, _ in found] == files
    assert {place for _, place in found} == {as_placement(blob.place)}


def test_versions_are_looked_through_once_and_own_ones_never(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"alpha")
    commit_files(repository, "other", {b"d": {b"b": b"beta"}})
    read: list[object] = []
    real = repository.blobs.read_stored_tree
    monkeypatch.setattr(repository.blobs, "read_stored_tree", lambda *found: (read.append(found), real(*found))[1])
    for _ in range(3):
        put_paths(repository, "data", [Source(os.fsencode(source), b"")])
    assert read == [], "what this index has written is known"
    repository.index.drop()  # type: ignore[union-attr]
    for _ in range(3):
        put_paths(repository, "data", [Source(os.fsencode(source), b"")])
    assert len(read) == 3, "the two pages of one version and the one of the others"
