"""A bit that was flipped in the index changes nothing that anybody is given, and nothing that is stored."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb
import pytest

from artifactfs.model import FileEntry
from artifactfs.repository import changes
from artifactfs.repository.check import check_repository
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import make_repository

TABLES = (b"collections", b"places", b"packs", b"sources", b"verified")


def flip(directory: Path, table: bytes, offset: int) -> int:
    """Flip a bit at an offset, from either end, of each row of a table, and return how many rows have it."""
    flipped = 0
    [data] = directory.rglob("data.mdb")
    with lmdb.open(str(data.parent), max_dbs=64) as environment:
        database = environment.open_db(table, create=False)
        with environment.begin(write=True, db=database) as transaction:
            for key, value in list(transaction.cursor()):
                if -len(value) <= offset < len(value):
                    changed = bytearray(value)
                    changed[offset] ^= 1 << abs(offset) % 8
                    transaction.put(key, bytes(changed))
                    flipped += 1
    return flipped


def read_all(repository: Repository) -> dict[str, dict[bytes, bytes]]:
    found = {}
    trees = Trees(repository.blobs)
    state = repository.get_collection("animals")
    for version in state.versions.values():
        found[f"{version.name} {state.aliases_of(version.number)}"] = {
            path: repository.open_file(entry, place).read_at(0, entry.size)
            for path, entry, place in trees.iter_placed(version.root.as_entry(), b"", _place(version.root))
            if isinstance(entry, FileEntry)
        }
    return found


def _place(root: object) -> object:
    from artifactfs.repository.trees import root_placement

    return root_placement(root)  # type: ignore[arg-type]


@pytest.mark.parametrize("table", TABLES)
def test_a_flipped_bit_in_the_index_is_never_believed(tmp_path: Path, table: bytes) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}").write_bytes(bytes([number]) * 100)
        os.utime(source / f"{number}", ns=(0, 10**18))
    make = lambda: make_repository(tmp_path / "top", clock=_Later())  # noqa: E731
    with make() as repository:
        put_paths(repository, "animals", [Source(os.fsencode(source), b"")])
        (source / "5").write_bytes(b"changed")
        put_paths(repository, "animals", [Source(os.fsencode(source), b"")])
        repository.append("animals", lambda state: changes.set_aliases(state, version=0, aliases=["best"]))
        expected, root = read_all(repository), repository.get_collection("animals").versions[1].root
    flips = 0
    for offset in [*range(0, 64, 3), *range(-64, 0, 3)]:
        flips += flip(tmp_path / "top" / "state", table, offset)
        with make() as repository:
            assert read_all(repository) == expected, offset
            again = put_paths(repository, f"copy{offset % 100}", [Source(os.fsencode(source), b"")]).version
            assert (again.root.tree, again.root.content, again.root.size) == (root.tree, root.content, root.size), (
                offset
            )
            assert check_repository(repository, share=1).damage == (), offset
    assert flips > 5


class _Later:
    """The time in an hour: files that were just written have rested."""

    def now_ns(self) -> int:
        import time

        return time.time_ns() + 3600 * 10**9

    def sleep(self, seconds: float) -> None:
        raise AssertionError
