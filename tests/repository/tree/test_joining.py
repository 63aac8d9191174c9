"""Joining directories: the same as if all of it had been stored together, and paths that clash are found."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from artifactfs.repository.joining import Joiner, find_clashes, gather_removed, place_root, place_stored
from artifactfs.repository.repository import Repository
from artifactfs.repository.treebuilder import StoredDirectory, TreeBuilder, make_root
from artifactfs.repository.trees import Placed, Trees
from artifactfs.testing.repositories import Content, store_files
from tests.repository.prune.support import open_listed

Tree = dict[bytes, Content]
NAMES = st.sampled_from([b"a", b"b", b"c", b"d"])
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(NAMES, st.sampled_from([b"1", b"2", "link"]), max_size=3),
    lambda inner: st.dictionaries(NAMES, inner | st.sampled_from([b"1", "link"]), max_size=3),
    max_leaves=8,
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)


def last_wins(_path: bytes, found: Sequence[Placed]) -> Placed:
    return found[-1]


def merge(one: Tree, other: Tree) -> Tree:
    merged = dict(one)
    for name, content in other.items():
        there = merged.get(name)
        both = isinstance(there, dict) and isinstance(content, dict)
        merged[name] = merge(there, content) if both else content  # type: ignore[arg-type]
    return merged


def remove(tree: Tree, path: bytes) -> Tree:
    name, _, rest = path.partition(b"/")
    there = tree.get(name)
    if rest and isinstance(there, dict):
        return {**tree, name: remove(there, rest)}  # type: ignore[arg-type]
    return tree if rest else {key: content for key, content in tree.items() if key != name}


def join(repository: Repository, base: Tree, others: list[Tree], removed: list[bytes]) -> StoredDirectory:
    trees = Trees(repository.blobs)
    roots = [place_root(store_files(repository, files)) for files in (base, *others)]
    with repository.blobs.begin() as batch:
        joiner = Joiner(trees, TreeBuilder(batch, trees), settle=last_wins)
        stored = joiner.join(roots[0], roots[1:], gather_removed(removed))
        batch.flush()
    return stored


@example(base={b"a": b"1"}, others=[], removed=[b"a", b"a/a/a"], in_packs=False)
@given(TREES, st.lists(TREES, max_size=3), st.lists(PATHS, max_size=3), st.booleans())
def test_it_is_what_storing_all_of_it_gives(
    base: Tree,
    others: list[Tree],
    removed: list[bytes],
    in_packs: bool,
) -> None:
    repository = open_listed(packed_below=1 << 20 if in_packs else 0)
    expected = base
    for path in removed:
        expected = remove(expected, path)
    # What several add is settled among all that have it: the last one says what is there.
    for other in others:
        expected = merge(expected, other)
    if all(_agrees(base, others)):
        stored = join(repository, base, others, removed)
        assert make_root(stored).tree == store_files(repository, expected).tree
        assert make_root(stored).content == store_files(repository, expected).content


def _agrees(base: Tree, others: list[Tree]) -> list[bool]:
    """Return whether names are directories in all trees that have them, or in none: else the order decides by pairs."""
    found = [True]
    trees = [base, *others]
    for name in {name for tree in trees for name in tree}:
        there = [tree[name] for tree in trees if name in tree]
        kinds = {isinstance(content, dict) for content in there}
        found.append(len(kinds) == 1)
        if kinds == {True}:
            found += _agrees(there[0], there[1:])  # type: ignore[arg-type]
    return found


@given(TREES, TREES)
def test_clashes_are_what_both_have(one: Tree, other: Tree) -> None:
    repository = open_listed()
    roots = [place_root(store_files(repository, files)) for files in (one, other)]
    found = set(find_clashes(Trees(repository.blobs), *roots))
    assert found == set(_clashes(one, other, b""))


def _clashes(one: Tree, other: Tree, path: bytes) -> list[bytes]:
    found: list[bytes] = []
    for name in one.keys() & other.keys():
        below = path + b"/" + name if path else name
        first, second = one[name], other[name]
        if isinstance(first, dict) and isinstance(second, dict):
            found += _clashes(first, second, below)  # type: ignore[arg-type]
        else:
            found.append(below)
    return found


def test_of_a_large_directory_only_pages_that_change_are_written() -> None:
    repository = open_listed()
    base: Tree = {b"%05d" % number: b"x" for number in range(6000)}
    root = place_root(store_files(repository, base))
    before = set(repository.store.iter_keys("trees/"))
    trees = Trees(repository.blobs)
    other = place_root(store_files(repository, {b"03000a": b"x"}))
    with repository.blobs.begin() as batch:
        joiner = Joiner(trees, TreeBuilder(batch, trees), settle=last_wins)
        stored = joiner.join(root, [other], gather_removed([b"00001"]))
        batch.flush()
    assert len(set(repository.store.iter_keys("trees/")) - before) <= 5
    expected = {**base, b"03000a": b"x"}
    del expected[b"00001"]
    assert make_root(stored).tree == store_files(repository, expected).tree


def test_deep_directories_are_joined_to_the_bottom() -> None:
    repository = open_listed()
    deep: Tree = {b"leaf": b"1"}
    wide: Tree = {b"other": b"2"}
    for _ in range(300):
        deep, wide = {b"d": deep}, {b"d": wide}
    stored = join(repository, deep, [wide], [b"d/" * 300 + b"leaf"])
    assert place_stored(stored)[0].count == 1
