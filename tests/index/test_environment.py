"""LMDB's traps, each reproduced: two opens, fork, growth, a full map, dead readers, damage, network disks."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import lmdb
import pytest

from artifactfs.errors import IndexCorruptError
from artifactfs.index import environment as module
from artifactfs.index.environment import Environment, find_local_directory

FORK = multiprocessing.get_context("fork")


def open_at(path: Path, **options: object) -> Environment:
    return Environment(str(path), tables=("t", "u"), durable=True, **options)  # type: ignore[arg-type]


def put(environment: Environment, key: bytes, value: bytes) -> None:
    environment.write(lambda writer: writer.put("t", key, value))


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")
        put(environment, b"ab", b"2")
        assert environment.get("t", b"a") == b"1"
        assert environment.get("u", b"a") is None
        assert environment.items("t", b"a") == [(b"a", b"1"), (b"ab", b"2")]
        environment.drop()
        assert environment.items("t") == []


def test_a_process_may_open_it_twice(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as one, open_at(tmp_path / "e") as two:
        put(one, b"a", b"1")
        assert two.get("t", b"a") == b"1"
        one.close()
        assert two.get("t", b"a") == b"1", "closing one handle leaves the other"


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as environment:

        def fail(writer: module.Writer) -> None:
            writer.put("t", b"a", b"1")
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011 (the one above)
            environment.write(fail)
        assert environment.get("t", b"a") is None


def in_child(action) -> int:
    process = FORK.Process(target=action)
    process.start()
    process.join(20)
    assert process.exitcode is not None
    return process.exitcode


def test_a_forked_child_opens_it_anew(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")

        def child() -> None:
            assert environment.get("t", b"a") == b"1"
            put(environment, b"child", b"2")
            os._exit(7)

        assert in_child(child) == 7
        assert environment.get("t", b"child") == b"2"
        put(environment, b"b", b"3")


def test_growth_by_another_process_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAP_SIZES", (1 << 20,))
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")

        def child() -> None:
            for number in range(64):
                put(environment, b"big%d" % number, b"x" * 65536)
            os._exit(7)

        assert in_child(child) == 7
        assert environment.get("t", b"big63") == b"x" * 65536


def test_a_full_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAP_SIZES", (1 << 20,))
    with open_at(tmp_path / "e") as environment:
        put(environment, b"big", b"x" * (8 << 20))
        assert environment.get("t", b"big") == b"x" * (8 << 20)


def test_slots_of_killed_readers_are_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_READERS", 4)
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")
        for _ in range(8):
            ready, done = os.pipe()
            pid = os.fork()
            if pid == 0:
                with environment.reading() as get:
                    get("t", b"a")
                    os.write(done, b"r")
                    signal.pause()
            os.read(ready, 1)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(ready)
            os.close(done)
            with open_at(tmp_path / "e") as again:
                assert again.get("t", b"a") == b"1"


@pytest.mark.parametrize("damage", [b"", b"not lmdb" * 2000, b"\0" * 16384], ids=["empty", "garbage", "zeros"])
def test_a_damaged_file_is_set_aside_and_begun_anew(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")
    (tmp_path / "e" / "data.mdb").write_bytes(damage)
    with open_at(tmp_path / "e") as environment:
        assert environment.get("t", b"a") is None
        put(environment, b"a", b"2")
    if damage:
        assert (tmp_path / "e.damaged").exists()
        assert "set aside" in caplog.text


def test_a_deleted_directory_is_made_anew(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as old:
        put(old, b"a", b"1")
        (tmp_path / "e" / "data.mdb").unlink()
        (tmp_path / "e" / "lock.mdb").unlink()
        with open_at(tmp_path / "e") as new:
            assert new.get("t", b"a") is None
            put(new, b"b", b"2")
            assert old.get("t", b"a") == b"1", "who had it open keeps what was there"


def test_a_place_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=str(tmp_path)) as caught:
        open_at(tmp_path / "file" / "e").open()
    assert not isinstance(caught.value, (OSError, lmdb.Error))


MOUNTS = """proc /proc proc rw 0 0
/dev/vda / ext4 rw 0 0
server:/home /mnt/home nfs4 rw 0 0
/dev/b /mnt/home/fast xfs rw 0 0
"""


def test_network_disks_are_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr(module, "LOCAL_FALLBACK", str(tmp_path / "var"))
    (tmp_path / "var").mkdir()
    assert find_local_directory("/mnt/home/fast/x", mounts=str(mounts)) == "/mnt/home/fast/x"
    assert find_local_directory("/mnt/homework/x", mounts=str(mounts)) == "/mnt/homework/x"
    found = find_local_directory("/mnt/home/x", mounts=str(mounts))
    assert found.startswith(str(tmp_path / "var"))
    os.chmod(os.path.dirname(found), 0o777)
    with pytest.raises(IndexCorruptError, match="belong to you alone"):
        find_local_directory("/mnt/home/x", mounts=str(mounts))
