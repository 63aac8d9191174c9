"""What a diff says is enough to make the new tree out of the old one, and no more than needed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from artifactfs.model import DirectoryEntry, FileEntry, SymlinkEntry
from artifactfs.repository.diff import Change, diff_trees
from artifactfs.repository.trees import Trees
from tests.repository.tree.support import TREES, Tree, build, flatten, memory


def diff(old: Tree | None, new: Tree | None) -> list[Change]:
    _, trees, builder = memory()
    before = None if old is None else build(builder, old)
    after = None if new is None else build(builder, new)
    return diff_trees(trees, before, after)


def summary(old: Tree | None, new: Tree | None) -> list[tuple[str, bytes, bytes | None]]:
    return [(change.kind, change.path, change.old_path) for change in diff(old, new)]


A, B, C = (b"one", 0o644), (b"two", 0o644), (b"three", 0o644)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        (None, {b"a": A}, [("added", b"a", None)]),
        ({b"a": A}, None, [("deleted", b"a", None)]),
        ({b"a": A}, {b"a": B}, [("modified", b"a", None)]),
        ({b"a": A}, {b"a": (b"one", 0o755)}, [("mode-changed", b"a", None)]),
        ({b"a": A}, {b"b": A}, [("renamed", b"b", b"a")]),
        ({b"a": A}, {b"b": (b"one", 0o600)}, [("renamed", b"b", b"a")]),
        ({b"a": A}, {b"a": A, b"b": A}, [("added", b"b", None)]),
        ({b"a": (b"", 0o644)}, {b"b": (b"", 0o644)}, [("deleted", b"a", None), ("added", b"b", None)]),
        ({b"a": A}, {b"a": "a"}, [("type-changed", b"a", None)]),
        ({b"a": "x"}, {b"a": "y"}, [("modified", b"a", None)]),
        ({b"d": {b"a": A}}, {b"d": A}, [("type-changed", b"d", None), ("deleted", b"d/a", None)]),
        ({b"d": A}, {b"d": {b"a": B}}, [("type-changed", b"d", None), ("added", b"d/a", None)]),
        ({b"d": {b"a": A, b"b": B}}, {b"e": {b"a": A, b"b": B}}, [("renamed", b"e", b"d")]),
        ({b"d": {b"a": A}}, {b"x": {b"y": {b"a": A}}}, [("renamed", b"x/y", b"d")]),
        ({b"d": {}}, {b"e": {}}, [("deleted", b"d", None), ("added", b"e", None)]),
        (
            {b"d": {b"a": A, b"b": B}},
            {b"e": {b"a": A, b"b": C}},
            [("deleted", b"d/b", None), ("renamed", b"e/a", b"d/a"), ("added", b"e/b", None)],
        ),
        # Of several deleted files with this content, the one of the same name is the one that moved.
        (
            {b"d": {b"a": A, b"b": A, b"keep": B}},
            {b"d": {b"keep": B}, b"e": {b"b": A}},
            [("deleted", b"d/a", None), ("renamed", b"e/b", b"d/b")],
        ),
        # A directory is not renamed twice, and not renamed when part of it went elsewhere first.
        (
            {b"d": {b"a": A}},
            {b"e": {b"a": A}, b"f": {b"a": A}},
            [("renamed", b"e", b"d"), ("added", b"f/a", None)],
        ),
        (
            {b"d": {b"a": A, b"s": {b"b": B}}},
            {b"e": {b"b": B}, b"f": {b"a": A, b"s": {b"b": B}}},
            [("renamed", b"e", b"d/s"), ("renamed", b"f/a", b"d/a"), ("added", b"f/s/b", None)],
        ),
    ],
)
def test_diff(old: Tree | None, new: Tree | None, expected: list[tuple[str, bytes, bytes | None]]) -> None:
    assert sorted(summary(old, new), key=str) == sorted(expected, key=str)


def test_changes_come_in_order_of_paths() -> None:
    paths = [change.path for change in diff({b"b": A, b"a": A}, {b"c": C, b"a": B})]
    assert paths == sorted(paths)


def test_times_are_no_change() -> None:
    _, trees, builder = memory()
    entry = FileEntry(b"a", 0o644, 1, 1, b"h" * 32)
    later = FileEntry(b"a", 0o644, 2, 1, b"h" * 32)
    old = builder.store_directory(b"/", mode=0o755, mtime_ns=0, entries=[entry]).entry
    new = builder.store_directory(b"/", mode=0o755, mtime_ns=0, entries=[later]).entry
    assert old.tree != new.tree
    assert diff_trees(trees, old, new) == []


def test_the_mode_of_a_directory_is_a_change() -> None:
    _, trees, builder = memory()
    inner = builder.store_directory(b"d", mode=0o755, mtime_ns=0, entries=[]).entry
    other = builder.store_directory(b"d", mode=0o700, mtime_ns=0, entries=[]).entry
    old = builder.store_directory(b"/", mode=0o755, mtime_ns=0, entries=[inner]).entry
    new = builder.store_directory(b"/", mode=0o755, mtime_ns=0, entries=[other]).entry
    assert [(change.kind, change.path) for change in diff_trees(trees, old, new)] == [("mode-changed", b"d")]


def test_equal_subtrees_are_not_read() -> None:
    pages, _, builder = memory()
    common: Tree = {b"%d" % number: {b"f": (b"%d" % number, 0o644)} for number in range(50)}
    old, new = build(builder, {b"c": common, b"x": A}), build(builder, {b"c": common, b"x": B})
    pages.reads = 0
    diff_trees(Trees(pages), old, new)
    assert pages.reads == 2


def test_ten_thousand_equal_files_that_moved_take_no_time() -> None:
    names = [b"%05d" % number for number in range(10_000)]
    old: Tree = {b"a": dict.fromkeys(names, A), b"k": B}
    new: Tree = {b"b": dict.fromkeys(names[1:], A), b"k": B}
    assert len(diff(old, new)) == 10_000


def apply(changes: list[Change], old: dict[bytes, object], new_leaves: dict[bytes, object]) -> dict[bytes, object]:
    """Return the leaves after the changes; what a change does not carry (whole directories) comes from `old`."""
    found = dict(old)
    taken: dict[bytes, object] = {}
    for change in changes:
        if change.kind == "renamed":
            assert change.old_path is not None
            assert change.old is not None
            source = change.old_path
            moved = [path for path in found if path == source or path.startswith(source + b"/")]
            assert moved, change
            for path in moved:
                taken[change.path + path[len(source) :]] = found.pop(path)
        elif change.kind == "deleted" or (change.kind == "type-changed" and change.path in found):
            assert change.path in found
            del found[change.path]
    for change in changes:
        if change.kind in ("added", "modified", "mode-changed", "type-changed") and change.path in new_leaves:
            found[change.path] = new_leaves[change.path]
    return found | taken


def comparable(leaves: dict[bytes, object]) -> dict[bytes, object]:
    """Empty directories are left out, and so are modes: a rename may change them."""
    return {path: leaf[0] if isinstance(leaf, tuple) else leaf for path, leaf in leaves.items() if leaf is not None}


@settings(max_examples=400, deadline=None)
@given(TREES, TREES)
def test_the_changes_make_the_new_tree_out_of_the_old(old: Tree, new: Tree) -> None:
    changes = diff(old, new)
    new_leaves = flatten(new)
    assert comparable(apply(changes, flatten(old), new_leaves)) == comparable(new_leaves)
    empty_before = {path for path, leaf in flatten(old).items() if leaf is None}
    added_empty = {path for path, leaf in new_leaves.items() if leaf is None} - empty_before
    named = {change.path for change in changes}
    for path in added_empty:  # it is named, or came with a renamed directory, or was there with something in it
        was_there = any(other.startswith(path + b"/") for other in flatten(old))
        parents = {path[: len(path) - len(b"/".join(path.split(b"/")[count:])) - 1] for count in range(1, 20)}
        assert path in named or was_there or parents & {change.path for change in changes if change.kind == "renamed"}


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_a_tree_has_no_changes_to_itself(tree: Tree) -> None:
    assert diff(tree, tree) == []


@settings(max_examples=200, deadline=None)
@given(TREES, TREES)
def test_a_diff_read_backwards_names_the_same_paths(old: Tree, new: Tree) -> None:
    mirror = {"added": "deleted", "deleted": "added"}
    forward = {
        (mirror.get(change.kind, change.kind), change.path) for change in diff(old, new) if change.kind != "renamed"
    }
    backward = {(change.kind, change.path) for change in diff(new, old) if change.kind != "renamed"}
    # Which of several equal files was renamed may differ; what was modified in place may not.
    in_place = {"modified", "mode-changed", "type-changed"}
    assert {item for item in forward if item[0] in in_place} == {item for item in backward if item[0] in in_place}


def test_an_entry_tells_what_it_is_on_both_sides() -> None:
    (change,) = diff({b"a": A}, {b"a": "target"})
    assert isinstance(change.old, FileEntry)
    assert isinstance(change.new, SymlinkEntry)
    (change,) = diff({b"d": {b"a": A}}, {b"e": {b"a": A}})
    assert isinstance(change.new, DirectoryEntry)
