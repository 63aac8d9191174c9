"""The table of backing files: requests that are worked on twice count once, whatever dies in between."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactfs.mount.kernel import backing_table
from artifactfs.mount.kernel.backing_table import BackingTable, create_backings


class Ids:
    """Gives out ids, each once."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self) -> int:
        self.last += 1
        return self.last


@pytest.fixture
def table() -> BackingTable:
    return create_backings()


def test_all_opens_of_a_node_have_one_id_and_the_last_release_gives_it_back(table: BackingTable) -> None:
    ids = Ids()
    assert [table.open(handle, 7, register=ids) for handle in (2, 4, 6)] == [1, 1, 1]
    assert table.open(8, 9, register=ids) == 2
    assert [table.release(handle) for handle in (4, 2, 6)] == [None, None, 1]
    assert table.open(10, 7, register=ids) == 3
    assert table.release(8) == 2


def test_an_open_that_is_sent_again_counts_once(table: BackingTable) -> None:
    ids = Ids()
    assert [table.open(2, 7, register=ids) for _ in range(3)] == [1, 1, 1]
    assert table.release(2) == 1


def test_a_release_that_is_sent_again_counts_once(table: BackingTable) -> None:
    ids = Ids()
    table.open(2, 7, register=ids)
    table.open(4, 7, register=ids)
    assert [table.release(2), table.release(2)] == [None, None]
    assert table.open(6, 7, register=ids) == 1, "the node is open all the time, and so keeps its id"


def test_who_comes_late_to_an_open_that_was_released_opens_nothing(table: BackingTable) -> None:
    ids = Ids()
    table.open(2, 7, register=ids)
    assert table.release(2) == 1
    assert table.open(2, 7, register=ids) is None
    assert ids.last == 1


def test_it_is_shared(table: BackingTable) -> None:
    other = BackingTable(table.descriptor)
    table.open(2, 7, register=Ids())
    assert other.release(2) == 1
    assert table.release(2) is None


def test_too_many_opens_are_an_error_and_change_nothing(table: BackingTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing_table, "SLOTS", 2)
    ids = Ids()
    table.open(2, 7, register=ids)
    table.open(4, 8, register=ids)
    with pytest.raises(OSError, match="more than 2 times") as caught:
        table.open(6, 9, register=ids)
    assert (caught.value.errno, ids.last) == (errno.ENFILE, 2)
    assert table.release(2) == 1
    assert table.open(6, 9, register=ids) == 3


def test_an_id_that_cannot_be_had_leaves_no_trace(table: BackingTable) -> None:
    def refuse() -> int:
        raise PermissionError

    with pytest.raises(PermissionError):
        table.open(2, 7, register=refuse)
    assert table.release(2) is None
    assert table.open(4, 7, register=Ids()) == 1


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 12), st.booleans())))
def test_it_equals_a_dict(steps: list[tuple[int, bool]]) -> None:
    table, ids = create_backings(), Ids()
    opened: dict[int, tuple[int, int]] = {}
    released: set[int] = set()
    for handle, is_open in steps:
        node = handle % 3 + 1
        if is_open:
            shared = next((backing for other, backing in opened.values() if other == node), ids.last + 1)
            found = table.open(handle, node, register=ids)
            assert found == (None if handle in released else opened.get(handle, (node, shared))[1])
            if handle not in released:
                opened.setdefault(handle, (node, shared))
        else:
            known = opened.pop(handle, None)
            if known is not None:
                released.add(handle)
            is_last = known is not None and known[0] not in {other for other, _ in opened.values()}
            assert table.release(handle) == (known[1] if known is not None and is_last else None)
