"""Reading directories, and the overlay: the same as building from all entries, with few pages read."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactfs.errors import BlobMissingError, EntryNotFoundError, InvalidPathError
from artifactfs.manifest import PAGE_LIMIT, is_boundary
from artifactfs.model import DirectoryEntry, Entry, Placement
from artifactfs.repository.treebuilder import TreeBuilder
from artifactfs.repository.trees import Trees
from tests.repository.tree.support import TREES, MemoryPages, Tree, build, file_entry, flatten, memory, root_of


def store(builder: TreeBuilder, entries: list[Entry]) -> DirectoryEntry:
    return builder.store_directory(b"/", mode=0o755, mtime_ns=0, entries=entries).entry


def overlay(builder: TreeBuilder, base: DirectoryEntry | None, changes: dict[bytes, Entry | None]) -> DirectoryEntry:
    placed = {name: entry and (entry, None) for name, entry in changes.items()}
    return builder.overlay_directory(b"/", mode=0o755, mtime_ns=0, base=base, changes=placed).entry


@given(TREES)
def test_iter_tree_yields_everything_in_depth_first_name_order(tree: Tree) -> None:
    _, trees, builder = memory()
    root = root_of(build(builder, tree))
    found = list(trees.iter_tree(root))
    paths = [path for path, _ in found]
    assert paths == sorted(paths, key=lambda path: path.split(b"/"))
    leaves = {path for path, entry in found if not isinstance(entry, DirectoryEntry) or not trees.load_entries(entry)}
    assert leaves == set(flatten(tree))
    assert all(trees.find_entry(root, path) == entry for path, entry in found)


def test_find_entry_says_what_is_missing() -> None:
    _, trees, builder = memory()
    root = root_of(build(builder, {b"a": {b"b": (b"x", 0o644)}, b"link": "a"}))
    assert trees.find_entry(root, b"").name == b"/"
    with pytest.raises(EntryNotFoundError, match="'a/c'"):
        trees.find_entry(root, b"a/c/d")
    with pytest.raises(EntryNotFoundError, match="'a/b' is not a directory"):
        trees.find_entry(root, b"a/b/c")
    with pytest.raises(EntryNotFoundError, match="'link' is not a directory"):
        trees.find_entry(root, b"link/b")
    with pytest.raises(InvalidPathError):
        trees.find_entry(root, b"a/../a")


def test_a_directory_deeper_than_the_stack_of_python() -> None:
    _, trees, builder = memory()
    entry = store(builder, [file_entry(b"leaf")])
    for _ in range(1500):
        named = DirectoryEntry(b"d", 0o755, 0, entry.tree, entry.content, entry.size, entry.count)
        entry = store(builder, [named])
    found = list(trees.iter_tree(root_of(entry)))
    assert len(found) == 1501
    assert found[-1][0].endswith(b"/leaf")


def test_one_entry_of_a_large_directory_reads_one_page_of_each_level() -> None:
    pages, _, builder = memory()
    entries = [file_entry(b"%06d" % number) for number in range(20_000)]
    directory = store(builder, list(entries))
    assert pages.writes > 20
    trees = Trees(pages)
    assert trees.find_entry(root_of(directory), b"012345") == entries[12345]
    assert pages.reads == 2


def test_pages_are_kept_and_the_cache_is_bounded() -> None:
    pages, _, builder = memory()
    directory = store(builder, [file_entry(b"a")])
    trees = Trees(pages)
    for _ in range(3):
        trees.load_entries(directory)
    assert pages.reads == 1
    forgetful = Trees(pages, cache_size=0)
    for _ in range(3):
        forgetful.load_entries(directory)
    assert pages.reads == 4


def test_a_missing_page_is_an_error() -> None:
    pages, trees, builder = memory()
    directory = store(builder, [file_entry(b"a")])
    pages.pages.clear()
    with pytest.raises(BlobMissingError):
        trees.load_entries(directory)


CHANGES = st.dictionaries(st.integers(0, 60), st.one_of(st.none(), st.integers(1, 3)), max_size=20)


@given(st.dictionaries(st.integers(0, 60), st.integers(1, 3), max_size=40), st.lists(CHANGES, max_size=4))
def test_overlays_equal_a_dict(start: dict[int, int], steps: list[dict[int, int | None]]) -> None:
    _, _, builder = memory()
    model = dict(start)
    directory = store(builder, [file_entry(b"%d" % key, value) for key, value in start.items()])
    for step in steps:
        changes = {b"%d" % key: value and file_entry(b"%d" % key, value) for key, value in step.items()}
        directory = overlay(builder, directory, changes)
        model.update({key: value for key, value in step.items() if value is not None})
        for key, value in step.items():
            if value is None:
                model.pop(key, None)
        fresh = TreeBuilder(MemoryPages())
        assert directory == store(fresh, [file_entry(b"%d" % key, value) for key, value in model.items()])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1000, 1024, 1030, 3000, 9000]))
def test_overlays_of_large_directories_equal_a_dict(seed: int, size: int) -> None:
    rng = random.Random(seed)
    _, trees, builder = memory()
    numbers = rng.sample(range(12_000), size)
    model = {b"%05d" % number: file_entry(b"%05d" % number, 1) for number in numbers}
    base = store(builder, list(model.values()))
    changes: dict[bytes, Entry | None] = {}
    if rng.random() < 0.4:  # a whole range goes
        low = rng.randrange(12_000)
        changes |= {b"%05d" % number: None for number in range(low, low + rng.choice([50, 3000, 12_000]))}
    for number in rng.sample(range(12_500), rng.choice([1, 7, 300])):
        name = b"%05d" % number
        changes[name] = rng.choice([None, file_entry(name, 2)])
    new: dict[bytes, Entry] = dict(model)
    for name, entry in changes.items():
        if entry is None:
            new.pop(name, None)
        else:
            new[name] = entry
    result = overlay(builder, base, changes)
    assert result == store(TreeBuilder(MemoryPages()), list(new.values()))
    assert [entry for entry, _ in trees.load_entries(result)] == [new[name] for name in sorted(new)]


def test_a_page_that_loses_its_end_grows_into_the_next() -> None:
    _, _, builder = memory()
    names = [b"%06d" % number for number in range(5000)]
    ends = [name for name in names if is_boundary(0, name)]
    assert len(ends) > 2
    base = store(builder, [file_entry(name) for name in names])
    for gone in (ends[0], ends[-1]):
        expected = store(TreeBuilder(MemoryPages()), [file_entry(name) for name in names if name != gone])
        assert overlay(builder, base, {gone: None}) == expected


def test_one_change_in_a_large_directory_touches_few_pages() -> None:
    pages, _, builder = memory()
    base = store(builder, [file_entry(b"%06d" % number) for number in range(50_000)])
    trees = Trees(pages)
    pages.reads = pages.writes = 0
    builder = TreeBuilder(pages, trees)
    overlay(builder, base, {b"025000": file_entry(b"025000", 9)})
    assert pages.reads <= 3
    assert pages.writes <= 3


def test_an_overlay_without_changes_reads_nothing() -> None:
    pages, _, builder = memory()
    base = store(builder, [file_entry(b"a")])
    pages.reads = pages.writes = 0
    again = (
        TreeBuilder(pages, Trees(pages)).overlay_directory(b"n", mode=0o700, mtime_ns=5, base=base, changes={}).entry
    )
    assert (again.name, again.mode, again.mtime_ns, again.tree) == (b"n", 0o700, 5, base.tree)
    assert (pages.reads, pages.writes) == (0, 0)


@pytest.mark.parametrize("count", [3, PAGE_LIMIT * 3])
def test_an_overlay_keeps_where_unchanged_content_lies(count: int) -> None:
    _, trees, builder = memory()
    place = Placement(b"p" * 32, 7, 9)
    entries = [file_entry(b"%05d" % number) for number in range(count)]
    base = builder.store_directory(
        b"/", mode=0o755, mtime_ns=0, entries=entries, places={entry.name: place for entry in entries}
    ).entry
    result = overlay(builder, base, {b"00001": file_entry(b"00001", 5)})
    places = {entry.name: where for entry, where in trees.load_entries(result)}
    assert places.pop(b"00001") is None
    assert set(places.values()) == {place}


@pytest.mark.parametrize("name", [b"..", b".", b"a/b", b"a\0", b""])
def test_names_that_no_tree_may_hold_are_refused(name: bytes) -> None:
    _, _, builder = memory()
    with pytest.raises(InvalidPathError):
        store(builder, [file_entry(name)])
    base = store(builder, [file_entry(b"%05d" % number) for number in range(PAGE_LIMIT * 2)])
    with pytest.raises(InvalidPathError):
        overlay(builder, base, {name: file_entry(name)})


def test_set_user_id_bits_are_not_kept() -> None:
    _, _, builder = memory()
    assert builder.store_directory(b"/", mode=0o42755, mtime_ns=0, entries=[]).entry.mode == 0o755
