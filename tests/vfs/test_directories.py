"""Directories prepared leaf by leaf: how much is prepared, cut short, shared, damaged; and what memory keeps."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import treepack_key
from artifactfs.errors import IndexCorruptError, IntegrityError
from artifactfs.index.environment import Writer
from artifactfs.index.epoch import NODES, PAGES, Epoch
from artifactfs.index.epochs import open_epoch
from artifactfs.model import DirectoryEntry, FileEntry
from artifactfs.repository.commit import commit_root
from artifactfs.repository.repository import Repository
from artifactfs.repository.treebuilder import TreeBuilder, make_root
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import StoredAt, commit_files, make_repository
from artifactfs.vfs.base import ROOT_NODE
from artifactfs.vfs.directories import Directories
from artifactfs.vfs.parts import iter_chosen
from artifactfs.vfs.preparation import PagePreparation
from artifactfs.vfs.version_view import VersionView
from tests.vfs.support import listing, open_version

COUNT = 5000


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path) as repository:
        yield repository


@pytest.fixture
def epoch(tmp_path: Path) -> Iterator[Epoch]:
    with open_epoch(str(tmp_path), random=os.urandom) as epoch:
        yield epoch


def commit_many(repository: Repository, name: str, count: int) -> DirectoryEntry:
    """Commit a directory with so many files, all of one content and each of its own time."""
    with repository.blobs.begin() as batch:
        blob = batch.store_bytes(b"content")
        files = [FileEntry(b"%08d" % n, 0o644, n, blob.size, blob.sha256) for n in range(count)]
        places = {file.name: blob.place for file in files}
        root = TreeBuilder(batch).store_directory(b"/", mode=0o755, mtime_ns=0, entries=files, places=places)
        batch.flush()
    commit_root(repository, name, make_root(root))
    return root.entry


@pytest.fixture
def view(repository: Repository, epoch: Epoch) -> Iterator[VersionView]:
    commit_many(repository, "many", COUNT)
    with open_version(repository, epoch, "many") as view:
        yield view


def count_rows(epoch: Epoch, table: str) -> int:
    return len(epoch.environment.items(table))


def test_a_lookup_prepares_the_leaf_that_can_hold_the_name(view: VersionView, epoch: Epoch) -> None:
    assert view.lookup(ROOT_NODE, b"00002500").mtime_ns == 2500
    assert count_rows(epoch, PAGES) == 2, "the head and one leaf"
    assert count_rows(epoch, NODES) < COUNT / 2
    listing(view, ROOT_NODE)
    assert count_rows(epoch, PAGES) > 5
    assert count_rows(epoch, NODES) == COUNT + 1


def test_entering_writes_once_and_entering_again_never(
    repository: Repository, epoch: Epoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_files(repository, "few", {b"%03d" % n: b"%d" % n for n in range(100)})
    with open_version(repository, epoch, "few") as view:
        view.getattr(ROOT_NODE)
        view._record(ROOT_NODE)
        writes: list[object] = []
        write = epoch.environment.write
        monkeypatch.setattr(epoch.environment, "write", lambda action: (writes.append(action), write(action))[1])
        listing(view, ROOT_NODE)
        assert len(writes) == 1
        listing(view, ROOT_NODE)
        view.lookup(ROOT_NODE, b"007")
    with open_version(repository, epoch, "few") as again:
        listing(again, ROOT_NODE)
    assert len(writes) == 1


def test_a_warm_directory_asks_neither_the_index_nor_the_repository(
    view: VersionView, epoch: Epoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing(view, ROOT_NODE)
    with monkeypatch.context() as patched:
        patched.setattr(epoch, "environment", None)
        patched.setattr(view._tree._directories, "_trees", None)
        assert view.lookup(ROOT_NODE, b"00000001").mtime_ns == 1
        assert len(listing(view, ROOT_NODE)) == COUNT


def test_preparing_that_was_cut_short_goes_on_with_the_same_numbers(
    view: VersionView, repository: Repository, epoch: Epoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = PagePreparation.write
    calls: list[object] = []

    def fail_third(self: PagePreparation, writer: Writer) -> object:
        calls.append(self)
        rows = prepare(self, writer)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return rows

    monkeypatch.setattr(PagePreparation, "write", fail_third)
    with pytest.raises(KeyboardInterrupt):
        listing(view, ROOT_NODE)
    before = view.lookup(ROOT_NODE, b"00000000")
    used = count_rows(epoch, NODES)
    with open_version(repository, epoch, "many") as again:
        found = dict(again.read_directory(ROOT_NODE))
    assert found[b"00000000"] == before
    assert list(found) == [b"%08d" % n for n in range(COUNT)]
    assert len({attributes.node for attributes in found.values()}) == COUNT
    assert used < count_rows(epoch, NODES) == COUNT + 1, "what was cut short left no nodes behind"


def test_preparing_a_page_again_gives_the_same_numbers(repository: Repository, epoch: Epoch) -> None:
    # As two processes do that enter a directory at once, or a transport that keeps pages in a form of its own.
    commit_files(repository, "mixed", {b"d": {b"x": b"1"}, b"e": {}, b"f": b"1", b"g": b"1", b"l": "f"})
    with open_version(repository, epoch, "mixed") as view:
        record = view._record(ROOT_NODE)
        trees = Trees(repository.blobs)
        chosen = list(iter_chosen(trees, record, trees.load_page(record.tree)))
        prepared = [
            epoch.environment.write(PagePreparation(view._tree.nodes, record, chosen, number=number).write)
            for number in (None, None, 0)
        ]
        assert prepared[0] == prepared[1] == prepared[2] == view.read_directory(ROOT_NODE)
        nodes = {name: found.node for name, found in prepared[0]}
        assert nodes[b"f"] == nodes[b"g"]
        assert len(set(nodes.values())) == 4


def test_views_that_prepare_at_once_agree(repository: Repository, epoch: Epoch) -> None:
    commit_many(repository, "many", COUNT)
    views = [open_version(repository, epoch, "many") for _ in range(4)]
    found: list[object] = []
    threads = [threading.Thread(target=lambda v=view: found.append(v.read_directory(ROOT_NODE))) for view in views]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert all(rows == found[0] for rows in found)
    assert count_rows(epoch, NODES) == COUNT + 1


def test_decoded_directories_are_bounded(view: VersionView, repository: Repository) -> None:
    tree = view._tree
    small = Directories(tree.nodes, Trees(repository.blobs), cached_entries=1500)
    record = view._record(ROOT_NODE)
    for _ in range(2):
        assert sum(len(names) for names in small.iter_leaves(record)) == COUNT
        assert small._cache.currsize <= 1500
    assert small.lookup(record, b"00004999") is not None
    assert small.lookup(record, b"99999999") is None


def test_a_damaged_leaf_hides_nothing_but_itself(view: VersionView, repository: Repository) -> None:
    head = view._tree._directories._get_head(view._record(ROOT_NODE))
    damaged = head.leaves[1]
    place = damaged.placement
    assert place is not None
    path = Path(repository.location, treepack_key(place.pack))
    StoredAt(path, place.offset, 1000).damage()
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"many:v0.*damaged") as caught:
            view.lookup(ROOT_NODE, damaged.last)
        assert caught.value.errno == 5
        with pytest.raises(IntegrityError):
            listing(view, ROOT_NODE)
    assert view.lookup(ROOT_NODE, b"00000000").mtime_ns == 0
    assert view.lookup(ROOT_NODE, b"%08d" % (COUNT - 1)).mtime_ns == COUNT - 1


def test_a_page_of_the_index_that_does_not_decode_is_eio(
    view: VersionView, repository: Repository, epoch: Epoch
) -> None:
    listing(view, ROOT_NODE)
    pages = epoch.environment.items(PAGES)
    epoch.environment.write(lambda writer: writer.put_many(PAGES, [(key, b"\xc1garbage") for key, _ in pages]))
    with open_version(repository, epoch, "many") as again:
        with pytest.raises(IndexCorruptError, match="index rebuild") as caught:
            again.lookup(ROOT_NODE, b"00000000")
        assert caught.value.errno == 5


def test_a_version_number_that_is_given_again_has_other_nodes(tmp_path: Path, epoch: Epoch) -> None:
    # A repository that was restored from a copy may give a number again.
    nodes = []
    for content in (b"before", b"after"):
        with make_repository(tmp_path / content.decode()) as repository:
            commit_files(repository, "animals", {b"a": content, b"d": {b"b": content}})
            with open_version(repository, epoch, "animals") as view:
                nodes.append({view._record(ROOT_NODE).attributes.node, view.lookup(ROOT_NODE, b"d").node})
                assert view.lookup(ROOT_NODE, b"a").size == len(content)
    assert not nodes[0] & nodes[1]


def test_a_hundred_thousand_entries_in_one_directory(repository: Repository, epoch: Epoch) -> None:
    count = 100_000
    commit_many(repository, "large", count)
    with open_version(repository, epoch, "large") as view:
        began = time.perf_counter()
        assert view.lookup(ROOT_NODE, b"00050000").mtime_ns == 50_000
        first = time.perf_counter() - began
        rows = view.read_directory(ROOT_NODE)
        whole = time.perf_counter() - began
        assert [name for name, _ in rows] == [b"%08d" % n for n in range(count)]
        assert len({found.node for _, found in rows}) == count
    assert first < whole / 10, "a lookup must not depend on how large the directory is"
    assert whole < 20
