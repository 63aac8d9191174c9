"""Directories of many pages, read from any entry on."""

from __future__ import annotations

from itertools import islice

import pytest

from artifactfs.model import DirectoryEntry, FileEntry
from artifactfs.repository.repository import Repository
from artifactfs.repository.treebuilder import TreeBuilder, stored_directory
from artifactfs.repository.treepacks import as_placement
from artifactfs.repository.trees import Trees

COUNT = 20_000


def name(number: int) -> bytes:
    return b"%06d" % (2 * number)


@pytest.fixture
def large(repository: Repository) -> tuple[Trees, DirectoryEntry, object]:
    """Return a directory of several levels of pages."""
    with repository.blobs.begin() as batch:
        writer = TreeBuilder(batch).begin_directory()
        for number in range(COUNT):
            writer.add(FileEntry(name(number), 0o644, 0, 1, number.to_bytes(32)))
        stored = stored_directory(b"x", 0o755, 0, writer.finish())
        batch.flush()
    assert isinstance(stored.entry, DirectoryEntry)
    return Trees(repository.blobs), stored.entry, as_placement(stored.place)


@pytest.mark.parametrize("offset", [0, 1, 511, 512, 7777, COUNT - 3, COUNT - 1, COUNT, COUNT + 5])
def test_a_window_is_a_slice(large: tuple, offset: int) -> None:
    trees, directory, place = large
    found = [entry.name for entry, _ in islice(trees.iter_from(directory, offset, place), 700)]
    assert found == [name(number) for number in range(offset, min(offset + 700, COUNT))]
    assert trees.count_entries(directory, place) == COUNT


def test_only_the_pages_of_a_window_are_read(large: tuple) -> None:
    trees, directory, place = large
    read: list[bytes] = []
    load = trees.load_page

    def count(tree: bytes, placement: object = None) -> object:
        read.append(tree)
        return load(tree, placement)

    trees.load_page = count  # type: ignore[method-assign]
    assert next(trees.iter_from(directory, COUNT - 5, place))[0].name == name(COUNT - 5)
    assert len(read) <= 4


@pytest.mark.parametrize("number", [0, 1, 512, 12_345, COUNT - 1])
def test_a_name_has_its_number_and_so_has_what_is_not_there(large: tuple, number: int) -> None:
    trees, directory, place = large
    assert trees.find_number(directory, name(number), place) == number
    assert trees.find_number(directory, name(number) + b"x", place) == number + 1
    assert trees.find_number(directory, b"zzz", place) == COUNT
