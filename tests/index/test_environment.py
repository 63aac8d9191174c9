"""LMDB's traps, each reproduced: two opens, fork, growth, a full map, dead readers, damage, network disks."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from artifactfs.errors import ArtifactFSError, IndexCorruptError, StorageFullError
from artifactfs.index import handles, open_handles
from artifactfs.index.environment import Environment, Reader, Writer

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
        environment.write(lambda writer: writer.put_many("u", [(b"x", b"3"), (b"y", b"4")]))
        assert environment.read(lambda reader: reader.get_many("u", [b"x", b"y", b"z"])) == {b"x": b"3", b"y": b"4"}
        environment.write(lambda writer: writer.delete("u", b"x"))
        assert environment.items("u") == [(b"y", b"4")]
        environment.write(Writer.clear)
        assert environment.items("t") == environment.items("u") == []


def test_a_process_may_open_it_twice(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as one, open_at(tmp_path / "e") as two:
        put(one, b"a", b"1")
        assert two.get("t", b"a") == b"1"
        one.close()
        assert two.get("t", b"a") == b"1", "closing one handle leaves the other"


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as environment:

        def fail(writer: Writer) -> None:
            writer.put("t", b"a", b"1")
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011 (the one above)
            environment.write(fail)
        assert environment.get("t", b"a") is None


def in_child(action: Callable[[], None]) -> int:
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
    monkeypatch.setattr(handles, "MAP_SIZES", (1 << 20,))
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")

        def child() -> None:
            for number in range(64):
                put(environment, b"big%d" % number, b"x" * 65536)
            os._exit(7)

        assert in_child(child) == 7
        assert environment.get("t", b"big63") == b"x" * 65536


def test_a_full_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "MAP_SIZES", (1 << 20,))
    with open_at(tmp_path / "e") as environment:
        put(environment, b"big", b"x" * (8 << 20))
        assert environment.get("t", b"big") == b"x" * (8 << 20)


def wait_in_transaction(done: int) -> Callable[[Reader], None]:
    def wait(reader: Reader) -> None:
        reader.get("t", b"a")
        os.write(done, b"r")
        signal.pause()

    return wait


def kill_readers(environment: Environment, count: int) -> list[int]:
    """Leave the slots of so many readers behind, all of which were alive at once."""
    killed = []
    for _ in range(count):
        ready, done = os.pipe()
        pid = os.fork()
        if pid == 0:
            environment.read(wait_in_transaction(done))
        os.read(ready, 1)
        os.close(ready)
        os.close(done)
        killed.append(pid)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return killed


def test_slots_of_killed_readers_are_freed_when_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "MAX_READERS", 4)
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")
        for _ in range(3):
            kill_readers(environment, 3)
            threads = [threading.Thread(target=environment.get, args=("t", b"a")) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert environment.get("t", b"a") == b"1"


def test_slots_of_killed_readers_are_freed_when_it_is_opened(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")
        killed = kill_readers(environment, 3)

        def child() -> None:
            environment.get("t", b"a")
            listed = environment._handle.env.readers()
            os._exit(8 if any(str(pid) in listed.split() for pid in killed) else 7)

        assert in_child(child) == 7


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


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_cut_short_is_noticed_before_it_is_read(
    tmp_path: Path, kept: float, caplog: pytest.LogCaptureFixture
) -> None:
    # Reading a page of the map beyond the end of the file is SIGBUS, so this test would end the run.
    data = tmp_path / "e" / "data.mdb"
    with open_at(tmp_path / "e") as environment:
        environment.write(lambda writer: writer.put_many("t", [(b"%05d" % n, b"x" * 100) for n in range(5000)]))
    os.truncate(data, int(data.stat().st_size * kept))
    with open_at(tmp_path / "e") as environment:
        assert environment.get("t", b"04999") is None
        put(environment, b"a", b"2")
    assert "set aside" in caplog.text


def test_a_foreign_file_is_set_aside_and_kept(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    foreign = b"SQLite format 3\0" + bytes(range(256)) * 64
    (tmp_path / "e" / "data.mdb").write_bytes(foreign)
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")
    assert (tmp_path / "e.damaged" / "data.mdb").read_bytes() == foreign


def test_damage_is_an_error_where_it_may_not_be_set_aside(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "data.mdb").write_bytes(b"garbage" * 4000)
    with pytest.raises(IndexCorruptError, match="damaged"):
        open_at(tmp_path / "e", replace_damaged=False).open()
    assert (tmp_path / "e" / "data.mdb").read_bytes() == b"garbage" * 4000


def test_a_directory_that_cannot_be_set_aside_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "data.mdb").write_bytes(b"garbage" * 4000)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(handles, "_set_aside", refuse)
    with pytest.raises(ArtifactFSError, match=r"e.*Permission denied"):
        open_at(tmp_path / "e").open()


def test_what_is_found_damaged_later_is_replaced_for_all_users(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as one, open_at(tmp_path / "e") as two:
        put(one, b"a", b"1")
        one.replace()
        assert two.get("t", b"a") is None
        put(two, b"a", b"2")
        assert one.get("t", b"a") == b"2"
    assert (tmp_path / "e.damaged" / "data.mdb").exists()


def test_a_closed_environment_says_so(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as environment:
        pass
    environment.close()
    with pytest.raises(ArtifactFSError, match="was closed"):
        environment.get("t", b"a")


def test_a_map_that_cannot_grow_is_a_full_disk_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "MAP_SIZES", (1 << 20,))
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")

        def child() -> None:
            environment.get("t", b"a")
            big = b"x" * (40 << 20)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (20 << 20),) * 2)
            try:
                put(environment, b"big", big)
            except StorageFullError:
                put(environment, b"b", b"2")
                os._exit(7 if environment.get("t", b"a") == b"1" else 8)
            os._exit(9)

        assert in_child(child) == 7


def test_a_smaller_map_is_taken_where_memory_is_limited(tmp_path: Path) -> None:
    def child() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2)
        with open_at(tmp_path / "e") as environment:
            put(environment, b"a", b"1")
            os._exit(7 if environment.get("t", b"a") == b"1" else 8)

    assert in_child(child) == 7


def test_the_map_is_resized_only_while_no_thread_is_in_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "MAP_SIZES", (1 << 20,))
    with open_at(tmp_path / "e") as environment:
        environment.write(lambda writer: writer.put_many("t", [(b"%03d" % n, b"%03d" % n * 300) for n in range(500)]))
        failed: list[object] = []
        stop = threading.Event()

        def read(seed: int) -> None:
            chosen = random.Random(seed)
            while not stop.is_set():
                keys = [b"%03d" % chosen.randrange(500) for _ in range(50)]
                found = environment.read(lambda reader, keys=keys: [reader.get("t", key) for key in keys])
                if found != [key * 300 for key in keys]:
                    failed.append(keys)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for number in range(40):
            put(environment, b"big%d" % number, b"x" * (1 << 20))
        stop.set()
        for thread in threads:
            thread.join(30)
        assert failed == []


def test_growth_waits_for_the_transactions_of_other_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "MAP_SIZES", (1 << 20,))
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")
        inside, go_on, grown = threading.Event(), threading.Event(), threading.Event()

        def read(reader: Reader) -> None:
            inside.set()
            go_on.wait(20)
            reader.get("t", b"a")

        def grow() -> None:
            put(environment, b"big", b"x" * (8 << 20))
            grown.set()

        threads = [threading.Thread(target=environment.read, args=(read,)), threading.Thread(target=grow)]
        threads[0].start()
        inside.wait(20)
        threads[1].start()
        assert not grown.wait(0.2)
        go_on.set()
        for thread in threads:
            thread.join(20)
        assert grown.is_set()


def test_adopting_growth_waits_for_the_transactions_of_other_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "MAP_SIZES", (1 << 20,))
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")
        inside, go_on, adopted = threading.Event(), threading.Event(), threading.Event()
        values: list[bytes | None] = []

        def child() -> None:
            put(environment, b"big", b"x" * (8 << 20))
            os._exit(7)

        def read(reader: Reader) -> None:
            inside.set()
            go_on.wait(20)
            values.append(reader.get("t", b"a"))

        def adopt() -> None:
            values.append(environment.get("t", b"big"))
            adopted.set()

        threads = [threading.Thread(target=environment.read, args=(read,)), threading.Thread(target=adopt)]
        threads[0].start()
        inside.wait(20)
        assert in_child(child) == 7
        threads[1].start()
        assert not adopted.wait(0.2)
        go_on.set()
        for thread in threads:
            thread.join(20)
        assert values == [b"1", b"x" * (8 << 20)]


def test_a_thread_that_holds_the_gate_keeps_others_from_closing(tmp_path: Path) -> None:
    environment = open_at(tmp_path / "e")
    environment.open()
    put(environment, b"a", b"1")
    inside, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    found: list[bytes | None] = []

    def read(reader: Reader) -> None:
        inside.set()
        go_on.wait(20)
        found.append(reader.get("t", b"a"))

    def close() -> None:
        environment.close()
        closed.set()

    threads = [threading.Thread(target=environment.read, args=(read,)), threading.Thread(target=close)]
    threads[0].start()
    inside.wait(20)
    threads[1].start()
    assert not closed.wait(0.05)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert found == [b"1"]


def test_a_child_may_be_forked_while_locks_are_held(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as environment:
        put(environment, b"a", b"1")

        def child() -> None:
            os._exit(7 if environment.get("t", b"a") == b"1" else 8)

        def close() -> None:
            environment.close()
            os._exit(7)

        def fork(reader: Reader) -> tuple[int, int, bytes | None]:
            with open_handles._registry().guard, open_handles._registry().handles[str(tmp_path / "e")].gate._changed:
                status = in_child(child), in_child(close)
            return *status, reader.get("t", b"a")

        assert environment.read(fork) == (7, 7, b"1")
        put(environment, b"b", b"2")


def test_writers_in_many_processes_take_turns(tmp_path: Path) -> None:
    with open_at(tmp_path / "e") as environment:

        def count(writer: Writer) -> None:
            writer.put("t", b"n", b"%d" % (int(writer.get("t", b"n") or b"0") + 1))

        def child() -> None:
            for _ in range(50):
                environment.write(count)
            os._exit(7)

        processes = [FORK.Process(target=child) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert environment.get("t", b"n") == b"200"
