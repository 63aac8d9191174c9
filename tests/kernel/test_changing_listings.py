"""Listings in pieces while entries come and go: whatever was there all the time is listed once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifactfs.index.epoch import Epoch
from artifactfs.index.epochs import open_epoch
from artifactfs.mount.kernel.catalogue import Served, describe
from artifactfs.mount.kernel.encoding import NO_ATTRIBUTES
from artifactfs.mount.kernel.listings import fill_changing
from artifactfs.mount.kernel.pages import iter_records
from artifactfs.mount.kernel.source import NodeSource
from artifactfs.mount.kernel.structures import DIRENT, ENTRY_OUT
from artifactfs.repository import changes
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files
from artifactfs.vfs.attributes import Attributes, Kind
from artifactfs.vfs.base import UnknownNodeError
from artifactfs.vfs.nodes import NodeTable

from .support import Folders

ROOM = 1000
"""Bytes of a piece: some entries."""


@pytest.fixture(scope="module")
def epoch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Epoch]:
    with open_epoch(str(tmp_path_factory.mktemp("state")), random=os.urandom) as epoch:
        yield epoch


def read_piece(data: memoryview) -> Iterator[tuple[str, int]]:
    for name, record in iter_records(data):
        yield name.decode(), DIRENT.packer.unpack_from(record, ENTRY_OUT.size)[1]


NAMES = st.sets(st.sampled_from([f"set{number:02d}" for number in range(40)]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=1, max_size=8))
def test_what_is_there_all_the_time_is_listed_once(epoch: Epoch, states: list[set[str]]) -> None:
    nodes, into = NodeTable(epoch), memoryview(bytearray(ROOM))
    seen: list[str] = []
    offset, present = 0, states[0]
    for turn in range(200):
        present = states[min(turn, len(states) - 1)]
        entries = [
            (name.encode(), Attributes(nodes.collection(name), Kind.DIRECTORY, 0o755, 0, 0)) for name in sorted(present)
        ]
        filled = fill_changing(nodes, 1, entries, encode=lambda _: NO_ATTRIBUTES, offset=offset, into=into)
        if not filled:
            break
        pieces = list(read_piece(into[:filled]))
        seen += [name for name, _ in pieces]
        offset = pieces[-1][1]
    assert seen[:2] == [".", ".."]
    assert len(seen) == len(set(seen))
    assert set(seen[2:]) <= set.union(*states)
    assert set(seen[2:]) >= set.intersection(*states)
    assert seen[2:] == sorted(seen[2:])


def test_an_offset_that_was_never_sent_is_stale(epoch: Epoch) -> None:
    into = memoryview(bytearray(ROOM))
    for offset in (3, 1 << 43, 1 << 63, (1 << 64) - 1):
        with pytest.raises(UnknownNodeError):
            fill_changing(NodeTable(epoch), 1, [], encode=lambda _: NO_ATTRIBUTES, offset=offset, into=into)


def list_on(source: NodeSource, node: int, offset: int = 0) -> Iterator[tuple[str, int]]:
    into = memoryview(bytearray(ROOM))
    while filled := source.fill_directory(node, offset=offset, into=into):
        for name, place in read_piece(into[:filled]):
            yield name, place
        offset = place


def test_aliases_and_versions_go_while_they_are_listed(repository: Repository, folders: Folders) -> None:
    for number in range(12):
        commit_files(repository, "animals", {b"a": b"%d" % number})
    aliases = [f"alias{number:02d}" for number in range(12)]
    repository.append("animals", lambda state: changes.set_aliases(state, version=11, aliases=aliases))
    source = describe(Served(repository.location, folders.state, 0, 0)).open_source()
    try:
        node = ENTRY_OUT.packer.unpack(source.find_entry(1, b"animals"))[0]
        everything = list(list_on(source, node))
        names = [name for name, _ in everything]
        assert names == [".", "..", *sorted([*aliases, "latest", *(f"v{number}" for number in range(12))])]
        gone = [*aliases[:6], "v0", "v10", "v2"]
        repository.append("animals", lambda state: changes.remove_aliases(state, aliases=aliases[:6]))
        for number in (0, 10, 2):
            repository.append("animals", lambda state, number=number: changes.delete_version(state, number=number))
        for at, (_, offset) in enumerate(everything, 1):
            rest = [name for name in names[at:] if name not in gone]
            assert [name for name, _ in list_on(source, node, offset)] == rest
    finally:
        source.close()


def test_the_top_is_listed_in_pieces(repository: Repository, folders: Folders) -> None:
    names = [f"set{number}" for number in range(20)]
    for name in names:
        commit_files(repository, name, {b"a": b"1"})
    source = describe(Served(repository.location, folders.state, 0, 0)).open_source()
    try:
        assert [name for name, _ in list_on(source, 1)] == [".", "..", *sorted(names)]
    finally:
        source.close()
