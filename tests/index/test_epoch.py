"""Epochs: numbers that are never used twice, kept while somebody holds them."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from artifactfs.errors import ConflictError, IndexCorruptError
from artifactfs.index import epochs as module
from artifactfs.index.epoch import NODES, UnknownNodeError, node_key
from artifactfs.index.epochs import begin_epoch, open_epoch, reopen_epoch


def epochs(path: Path) -> set[str]:
    return {name for name in os.listdir(path / "epochs") if len(name) == 5}


def test_mounts_share_an_epoch_and_its_numbers_do_not_repeat(tmp_path: Path) -> None:
    with open_epoch(str(tmp_path), random=os.urandom) as one, open_epoch(str(tmp_path), random=os.urandom) as two:
        assert one.number == two.number
        first = one.environment.write(lambda writer: one.allocate(writer, 3))
        second = two.environment.write(lambda writer: two.allocate(writer, 1))
        assert first >> 44 == one.number
        assert second == first + 3
        assert first & ((1 << 44) - 1) > 1, "the root's number is nobody else's"


def test_an_unknown_node_is_stale_and_never_a_guess(tmp_path: Path) -> None:
    with open_epoch(str(tmp_path), random=os.urandom) as epoch:
        node = epoch.environment.write(lambda writer: epoch.allocate(writer, 1))
        epoch.environment.write(lambda writer: writer.put(NODES, node_key(node), b"it"))
        assert epoch.get_node(node) == b"it"
        for other in (node + 1, node ^ (1 << 50), 2):
            with pytest.raises(ConflictError) as caught:
                epoch.get_node(other)
            assert caught.value.errno == 116  # ESTALE


def test_a_rebuild_begins_a_new_epoch_and_removes_what_nobody_holds(tmp_path: Path) -> None:
    with open_epoch(str(tmp_path), random=os.urandom) as held:
        begin_epoch(str(tmp_path), random=os.urandom)
        with open_epoch(str(tmp_path), random=os.urandom) as fresh:
            assert fresh.number != held.number
            assert epochs(tmp_path) == {held.name, fresh.name}
            held.environment.write(lambda writer: held.allocate(writer, 1))
        begin_epoch(str(tmp_path), random=os.urandom)
        assert held.name in epochs(tmp_path)
        assert fresh.name not in epochs(tmp_path)
    begin_epoch(str(tmp_path), random=os.urandom)
    assert len(epochs(tmp_path)) == 1


def test_an_epoch_of_an_earlier_boot_is_not_used_again(tmp_path: Path) -> None:
    with open_epoch(str(tmp_path), random=os.urandom, boot_id="one") as before:
        pass
    with open_epoch(str(tmp_path), random=os.urandom, boot_id="one") as same:
        assert same.number == before.number
    with open_epoch(str(tmp_path), random=os.urandom, boot_id="two") as after:
        assert after.number != before.number
        assert epochs(tmp_path) == {after.name}


def test_a_random_number_that_is_taken_is_not_used(tmp_path: Path) -> None:
    numbers = iter([b"\0\0\0", b"\0\x12\x34", b"\0\x12\x30", b"\x11\x11\x11"])
    with open_epoch(str(tmp_path), random=lambda _: next(numbers)) as epoch:
        assert epoch.name == "00123"
        begin_epoch(str(tmp_path), random=lambda _: next(numbers))
        assert epochs(tmp_path) == {"00123", "11111"}


def test_a_damaged_epoch_is_never_used_again_under_its_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_epoch(str(tmp_path), random=os.urandom) as before:
        pass
    data = tmp_path / "epochs" / before.name / "data.mdb"
    data.write_bytes(b"garbage" * 4000)
    with pytest.raises(IndexCorruptError):
        reopen_epoch(str(tmp_path), number=before.number)
    with open_epoch(str(tmp_path), random=os.urandom) as after:
        assert after.number != before.number
        assert "a new epoch begins" in caplog.text


def test_a_live_mount_goes_on_with_its_epoch_after_a_rebuild(tmp_path: Path) -> None:
    with open_epoch(str(tmp_path), random=os.urandom) as held:
        node = held.environment.write(lambda writer: held.allocate(writer, 1))
        held.environment.write(lambda writer: writer.put(NODES, node_key(node), b"it"))
        begin_epoch(str(tmp_path), random=os.urandom)
        with reopen_epoch(str(tmp_path), number=held.number) as again:
            assert again.get_node(node) == b"it"
    begin_epoch(str(tmp_path), random=os.urandom)
    with pytest.raises(UnknownNodeError):
        reopen_epoch(str(tmp_path), number=held.number)


def test_an_epoch_with_other_tables_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_epoch(str(tmp_path), random=os.urandom) as before:
        pass
    monkeypatch.setattr(module, "FORMAT", "later")
    with open_epoch(str(tmp_path), random=os.urandom) as after:
        assert after.number != before.number


def test_processes_that_share_an_epoch_never_give_a_number_twice(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def allocate() -> None:
        with open_epoch(str(tmp_path), random=os.urandom) as epoch:
            results.put([epoch.environment.write(lambda writer: epoch.allocate(writer, 3)) for _ in range(40)])

    processes = [context.Process(target=allocate) for _ in range(4)]
    for process in processes:
        process.start()
    found = [number for _ in processes for number in results.get(timeout=60)]
    for process in processes:
        process.join(20)
    assert len({first + step for first in found for step in range(3)}) == 4 * 40 * 3


def test_a_lost_current_file_begins_a_new_epoch(tmp_path: Path) -> None:
    with open_epoch(str(tmp_path), random=os.urandom) as before:
        (tmp_path / "epochs" / "current").write_bytes(b"\xff\xfe")
        with open_epoch(str(tmp_path), random=os.urandom) as after:
            assert after.number != before.number
            assert epochs(tmp_path) == {before.name, after.name}
