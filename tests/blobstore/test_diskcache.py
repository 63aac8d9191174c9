"""The cache of chunks: whole or not at all, within its quota, fetched by one process, and never damaged."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from artifactfs.blobstore.cachequota import CacheLimits
from artifactfs.blobstore.chunkfiles import TRAILER_SIZE
from artifactfs.blobstore.diskcache import DiskCache
from artifactfs.errors import RemoteUnavailableError

KEY = "blobs/ab/" + "ab" * 32
PROGRAM = """
import os, sys, time
from artifactfs.blobstore.cachequota import CacheLimits
from artifactfs.blobstore.diskcache import DiskCache

def fetch():
    with open(sys.argv[2], "ab", buffering=0) as log:
        log.write(b"fetched\\n")
    time.sleep(float(sys.argv[3]))
    return b"x" * 1000

data = DiskCache(sys.argv[1], CacheLimits(1 << 20, 0)).load(sys.argv[4], 0, 1000, fetch)
assert data == b"x" * 1000
"""


def open_cache(path: Path, *, size: int = 1 << 20, free: int = 0) -> DiskCache:
    return DiskCache(str(path), CacheLimits(size, free))


def never() -> bytes:
    raise AssertionError("it was fetched again")


def files(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path / "chunks")) for found in (path / "chunks").rglob("*") if found.is_file())


def test_what_was_fetched_is_found_by_whoever_comes_next(tmp_path: Path) -> None:
    assert open_cache(tmp_path).read(KEY, 0, 0, 10) is None
    assert open_cache(tmp_path).load(KEY, 0, 6, lambda: b"animal") == b"animal"
    other = open_cache(tmp_path)
    assert other.load(KEY, 0, 6, never) == b"animal"
    assert other.read(KEY, 0, 2, 100) == b"imal"
    assert other.read(KEY, 0, 6, 100) == b""
    assert other.read(KEY, 1, 0, 100) is None
    assert files(tmp_path) == [f"{KEY}.0"]
    assert other.quota.used() == 6 + TRAILER_SIZE


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "zeros"])
def test_what_a_crash_left_is_fetched_again(tmp_path: Path, damage: str) -> None:
    open_cache(tmp_path).load(KEY, 0, 6, lambda: b"animal")
    [path] = [found for found in (tmp_path / "chunks").rglob("*") if found.is_file()]
    data = path.read_bytes()
    changed = {"flip": b"b" + data[1:], "cut": data[:-1], "empty": b"", "zeros": bytes(len(data))}
    path.write_bytes(changed[damage])
    cache = open_cache(tmp_path)
    assert cache.read(KEY, 0, 0, 6) is None
    assert cache.load(KEY, 0, 6, lambda: b"animal") == b"animal"
    assert cache.read(KEY, 0, 0, 6) == b"animal"


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, size=10 * (1000 + TRAILER_SIZE))
    for number in range(10):
        cache.load(KEY, number, 1000, lambda: bytes(1000))
        os.utime(tmp_path / "chunks" / f"{KEY}.{number}", (number, number))
    assert cache.read(KEY, 0, 0, 1) == b"\0", "this one is used now"
    for number in range(10, 15):
        cache.load(KEY, number, 1000, lambda: bytes(1000))
        assert cache.quota.used() <= cache.quota.limits.size
    assert cache.has(KEY, 0)
    assert not cache.has(KEY, 1)
    assert not cache.has(KEY, 2)
    assert cache.has(KEY, 14)


def test_what_does_not_fit_is_fetched_and_not_kept(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, size=500)
    assert cache.load(KEY, 0, 1000, lambda: bytes(1000)) == bytes(1000)
    assert files(tmp_path) == []
    assert cache.quota.used() == 0
    assert open_cache(tmp_path, free=1 << 60).load(KEY, 0, 10, lambda: bytes(10)) == bytes(10)
    assert files(tmp_path) == []


@pytest.mark.parametrize("call", ["posix_fallocate", "pwritev", "rename"])
def test_a_full_disk_is_no_error_of_the_reader(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = open_cache(tmp_path)
    monkeypatch.setattr(os, call, fail)
    assert cache.load(KEY, 0, 10, lambda: b"0123456789") == b"0123456789"
    monkeypatch.undo()
    assert files(tmp_path) == []
    assert cache.quota.used() == 0


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise RemoteUnavailableError("no answer")

    cache = open_cache(tmp_path)
    with pytest.raises(RemoteUnavailableError):
        cache.load(KEY, 0, 10, fail)
    assert files(tmp_path) == []
    assert cache.quota.used() == 0


def test_a_directory_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = open_cache(tmp_path / "file" / "below")
    assert cache.load(KEY, 0, 10, lambda: b"0123456789") == b"0123456789"
    assert cache.read(KEY, 0, 0, 10) is None


def run_program(cache: Path, log: Path, *, seconds: float = 0.0, number: str = KEY) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(cache), str(log), str(seconds), number])


def test_one_process_of_many_fetches(tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = [run_program(tmp_path / "cache", log, seconds=0.2) for _ in range(12)]
    assert [process.wait(30) for process in running] == [0] * 12
    assert log.read_text() == "fetched\n"


def test_a_killed_fetcher_holds_nobody_up(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    first = run_program(cache, log, seconds=60)
    try:
        while not log.exists() or not log.read_text():  # it is there before it says anything
            assert first.poll() is None
        second = run_program(cache, log)
        assert open_cache(cache).quota.used() == 1000 + TRAILER_SIZE
        first.send_signal(signal.SIGKILL)
        assert second.wait(30) == 0
    finally:
        first.kill()
        first.wait()
    assert log.read_text() == "fetched\n" * 2
    assert files(cache) == [f"{KEY}.0"]


def test_room_of_killed_processes_is_counted_again(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.load(KEY, 0, 100, lambda: bytes(100))
    part = tmp_path / "chunks" / f"{KEY}.7.part"
    part.write_bytes(bytes(5000))
    (tmp_path / "size").unlink()
    assert cache.quota.used() == 100 + TRAILER_SIZE
    assert not part.exists()
    (tmp_path / "size").write_text("garbage")
    assert cache.quota.used() == 100 + TRAILER_SIZE
    assert cache.quota.clean() == 100 + TRAILER_SIZE
    assert files(tmp_path) == []


def test_room_of_a_killed_fetch_is_free_when_it_is_counted(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    process = run_program(cache, log, seconds=60)
    try:
        while not log.exists() or not log.read_text():
            assert process.poll() is None
        assert open_cache(cache).quota.count() == 1000 + TRAILER_SIZE, "while it is fetched it takes room"
    finally:
        process.kill()
        process.wait()
    assert open_cache(cache).quota.used() == 1000 + TRAILER_SIZE
    assert open_cache(cache).quota.count() == 0
    assert open_cache(cache).quota.used() == 0
    assert files(cache) == []


def make_shared(tmp_path: Path) -> Path:
    """Return a directory of a group that its users reach."""
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, -1, 4242)
    shared.chmod(0o2770)
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == "root" and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    return shared


KEEPING = """
import os, sys
from artifactfs.blobstore.cachequota import CacheLimits
from artifactfs.blobstore.diskcache import DiskCache
os.setgroups([]); os.setgid(4242); os.setuid(int(sys.argv[2]))
def never():
    raise AssertionError("it was fetched again")
cache = DiskCache(sys.argv[1], CacheLimits(1 << 20, 0))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
def test_what_one_user_keeps_is_read_and_left_in_place_by_others(tmp_path: Path) -> None:
    shared = make_shared(tmp_path)

    def run(user: int, script: str) -> None:
        subprocess.run([sys.executable, "-c", KEEPING + script, str(shared), str(user)], check=True)

    load = f"cache.load('{KEY}', 0, 1000, lambda: b'x' * 1000)"
    run(4300, f"cache.quota.keeps.add('s3://b', 'animals:v0', ['{KEY}.0']); {load}")
    run(4301, "cache.quota.clean()")
    run(4301, f"assert cache.load('{KEY}', 0, 1000, never) == b'x' * 1000")
    run(4301, "assert [keep.uid for keep in cache.quota.keeps.iter_keeps()] == [4300]")
    run(4300, "[cache.quota.keeps.remove(keep) for keep in cache.quota.keeps.iter_keeps()]")
    run(4301, f"cache.quota.clean(); assert not cache.has('{KEY}', 0)")


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
def test_what_another_user_reads_was_used_lately(tmp_path: Path) -> None:
    shared = make_shared(tmp_path)

    def run(user: int, script: str) -> None:
        subprocess.run([sys.executable, "-c", KEEPING + script, str(shared), str(user)], check=True)

    for number in (0, 1):
        run(4300, f"cache.load('{KEY}', {number}, 1000, lambda: b'x' * 1000)")
        path = shared / "chunks" / f"{KEY}.{number}"
        os.utime(path, ns=(number, path.stat().st_mtime_ns))
    run(4301, f"assert cache.read('{KEY}', 0, 0, 1) == b'x'")
    run(4300, f"cache.quota.clean(keep={1000 + TRAILER_SIZE})")
    assert files(shared) == [f"{KEY}.0", f"{KEY}.0.used"]
    run(4300, "cache.quota.clean()")
    assert files(shared) == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
def test_a_directory_of_a_group_is_shared_by_its_users(tmp_path: Path) -> None:
    shared = make_shared(tmp_path)
    become = "os.setgroups([]); os.setgid(4242); os.setuid(4300 + int(sys.argv[5]))\n\ndef fetch"
    script = PROGRAM.replace("def fetch", become)
    for user in range(2):
        key = KEY if user == 0 else KEY.replace("ab", "cd")
        command = [sys.executable, "-c", script, str(shared), "/dev/null", "0", key, str(user)]
        subprocess.run(command, check=True)
    assert open_cache(shared).quota.used() == 2 * (1000 + TRAILER_SIZE)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shared.rglob("*")}
    assert modes["size"] == 0o660
    assert modes["chunks"] == 0o2770
    assert modes[KEY.rpartition("/")[2] + ".0"] == 0o640


def test_a_chunk_that_was_kept_can_be_checked_and_forgotten(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.load(KEY, 3, 6, lambda: b"animal")
    [chunk] = cache.quota.iter_chunks()
    assert (chunk.key, chunk.number, chunk.size) == (KEY, 3, 6)
    assert cache.check(chunk)
    Path(chunk.path).write_bytes(b"A" + Path(chunk.path).read_bytes()[1:])
    assert not cache.check(chunk)
    cache.load(KEY, 3, 6, lambda: b"animal")
    assert cache.forget(KEY, 3)
    assert not cache.forget(KEY, 3)
    assert cache.quota.used() == 0
