"""Files of an open environment that somebody changes: noticed, named, and never believed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from artifactfs.errors import IndexCorruptError
from artifactfs.index import soundness
from artifactfs.index.environment import Environment, Writer
from artifactfs.index.epochs import open_epoch
from artifactfs.index.index import open_index


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\x5a" * path.stat().st_size)


def overwrite_with_zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    os.truncate(path, 0)


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, f"{path}.new")
    os.replace(f"{path}.new", path)


DAMAGES = (overwrite, overwrite_with_zeros, cut, remove, replace)


@pytest.fixture(autouse=True)
def look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "PAUSE_SECONDS", -1.0)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    with Environment(str(tmp_path / "e"), tables=("t",), durable=False, replace_damaged=False) as opened:
        opened.write(lambda writer: writer.put("t", b"a", b"1"))
        yield opened


def put(writer: Writer) -> None:
    writer.put("t", b"b", b"2")


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_done_to_an_open_file_is_an_error_that_names_it(
    environment: Environment, name: str, damage: Callable[[Path], None]
) -> None:
    assert environment.get("t", b"a") == b"1"
    path = Path(environment.directory) / name
    damage(path)
    with pytest.raises(IndexCorruptError, match=str(path)):
        environment.get("t", b"a")
    with pytest.raises(IndexCorruptError, match=str(path)):
        environment.write(put)


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_open_index_goes_on_with_a_new_one(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    with open_index(str(tmp_path), repository_id="r") as index:
        index.add_verified([(b"d" * 32, b"signature")])
        index.flush()
        damage(tmp_path / "index" / name)
        assert not index.has_verified(b"d" * 32, b"signature")
        index.add_verified([(b"e" * 32, b"signature")])
        index.flush()
    with open_index(str(tmp_path), repository_id="r") as index:
        assert index.has_verified(b"e" * 32, b"signature")


def test_a_lock_file_of_an_earlier_state_is_noticed(environment: Environment) -> None:
    path = Path(environment.directory) / "lock.mdb"
    early = path.read_bytes()
    environment.write(put)
    environment.write(put)  # looks at the lock file after the first
    with path.open("r+b") as file:
        file.write(early)
    with pytest.raises(IndexCorruptError, match=r"lock\.mdb was overwritten"):
        environment.write(put)


def test_a_value_that_was_written_over_is_damage(tmp_path: Path) -> None:
    with open_epoch(str(tmp_path), random=os.urandom) as epoch:
        epoch.environment.write(lambda writer: writer.put("nodes", b"key", b"value"))
        directory = epoch.environment.directory
    with lmdb.open(directory, max_dbs=16) as raw, raw.begin(write=True) as transaction:
        table = raw.open_db(b"nodes", txn=transaction)
        transaction.put(b"key", b"Value" + transaction.get(b"key", db=table)[5:], db=table)
    with open_epoch(str(tmp_path), random=os.urandom) as epoch:
        for read in (
            lambda: epoch.environment.get("nodes", b"key"),
            lambda: epoch.environment.read(lambda reader: reader.get("nodes", b"key")),
            lambda: epoch.environment.read(lambda reader: reader.get_many("nodes", [b"key"])),
            lambda: epoch.environment.items("nodes"),
        ):
            with pytest.raises(IndexCorruptError, match="not what was written"):
                read()


def test_a_removed_file_is_made_anew_for_whoever_opens_next(tmp_path: Path) -> None:
    with open_index(str(tmp_path), repository_id="r") as held:
        (tmp_path / "index" / "data.mdb").unlink()
        with open_index(str(tmp_path), repository_id="r") as index:
            index.add_verified([(b"e" * 32, b"signature")])
        held.flush()
    with open_index(str(tmp_path), repository_id="r") as index:
        assert index.has_verified(b"e" * 32, b"signature")
