"""Which pack is read next, as far as node numbers tell."""

from __future__ import annotations

import pytest

from artifactfs.index.epoch import UnknownNodeError
from artifactfs.model import Placement
from artifactfs.vfs.attributes import Attributes, Kind
from artifactfs.vfs.following import find_next_pack
from artifactfs.vfs.node_records import CollectionNode, FileNode

FIRST, SECOND, THIRD = b"1" * 32, b"2" * 32, b"3" * 32


class Table:
    """Nodes of files that lie in packs one after the other, with a directory now and then; notes what is asked."""

    def __init__(self, *runs: tuple[bytes, int]) -> None:
        self.packs = [pack for pack, count in runs for _ in range(count)]
        self.asked: list[int] = []

    def get(self, node: int) -> object:
        self.asked.append(node)
        if not 0 <= node < len(self.packs):
            raise UnknownNodeError("not given out")
        if node % 101 == 100:
            return CollectionNode(node, "animals")
        attributes = Attributes(node, Kind.FILE, 0o644, 1, 0)
        return FileNode(attributes, bytes(32), 1, None, Placement(self.packs[node], 0, 1))


@pytest.mark.parametrize("node", [0, 1, 700, 4000, 4094])
def test_the_pack_of_the_files_that_come_next_is_found(node: int) -> None:
    table = Table((FIRST, 4096), (SECOND, 4096), (THIRD, 5000))
    assert find_next_pack(table, node, FIRST) == SECOND  # type: ignore[arg-type]
    assert len(table.asked) < 40


def test_nothing_is_known_at_the_end() -> None:
    table = Table((FIRST, 4096), (SECOND, 4096))
    assert find_next_pack(table, 5000, SECOND) is None  # type: ignore[arg-type]
    assert find_next_pack(table, 8191, SECOND) is None  # type: ignore[arg-type]
