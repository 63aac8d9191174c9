"""Chunks that are taken for what they say unread: only while nobody else can have changed them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from artifactfs.blobstore import chunkfiles
from artifactfs.blobstore.cachequota import CacheLimits
from artifactfs.blobstore.chunkfiles import OpenChunk, open_chunk
from artifactfs.blobstore.diskcache import DiskCache
from artifactfs.blobstore.packs import WINDOW_SIZE

KEY = "packs/ab/" + "ab" * 32
DATA = b"animal" * 1000


def open_cache(path: Path) -> DiskCache:
    return DiskCache(str(path), CacheLimits(1 << 20, 0))


@pytest.fixture
def chunk(tmp_path: Path) -> Path:
    open_cache(tmp_path).load(KEY, 0, len(DATA), lambda: DATA)
    return tmp_path / "chunks" / f"{KEY}.0"


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[OpenChunk]:
    """Give the chunks that were read to the end, one after the other."""
    found: list[OpenChunk] = []
    is_good = OpenChunk.is_good

    def note(chunk: OpenChunk) -> bool:
        found.append(chunk)
        return is_good(chunk)

    monkeypatch.setattr(OpenChunk, "is_good", note)
    return found


def start_again(monkeypatch: pytest.MonkeyPatch, boot: bytes) -> None:
    """Let the machine have been started again."""
    monkeypatch.setattr(chunkfiles, "_find_boot", lambda: boot)


def test_what_this_user_fetched_is_not_read_to_be_believed(
    tmp_path: Path, chunk: Path, readings: list[OpenChunk]
) -> None:
    found = open_cache(tmp_path).open(KEY, 0)
    assert found is not None
    assert found.sha256 == hashlib.sha256(DATA).digest()
    assert found.read(3, 6) == DATA[3:9]
    assert found.read(len(DATA) - 2, 6) == DATA[-2:]
    assert not readings
    assert chunk.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("is_dated_back", [False, True])
def test_what_was_changed_since_is_dropped(tmp_path: Path, chunk: Path, *, is_dated_back: bool) -> None:
    status = chunk.stat()
    with chunk.open("r+b") as file:
        file.write(b"A")
    if is_dated_back:
        os.utime(chunk, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert open_cache(tmp_path).open(KEY, 0) is None
    assert not chunk.exists()


def test_a_change_of_an_open_chunk_is_seen(tmp_path: Path, chunk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artifactfs.blobstore.diskcache.LOOK_AGAIN_SECONDS", 0.0)
    cache = open_cache(tmp_path)
    assert cache.open(KEY, 0) is not None
    with chunk.open("r+b") as file:
        file.write(b"A")
    assert cache.open(KEY, 0) is None


def test_after_a_start_of_the_machine_it_is_read_once(
    tmp_path: Path, chunk: Path, readings: list[OpenChunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    del chunk
    start_again(monkeypatch, b"2" * 16)
    assert open_cache(tmp_path).open(KEY, 0) is not None
    assert len(readings) == 1
    assert open_cache(tmp_path).open(KEY, 0) is not None
    assert len(readings) == 1, "that it was read is written down"


def test_bytes_that_a_loss_of_power_took_are_found(
    tmp_path: Path, chunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = chunk.stat()
    with chunk.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(1000))
    os.utime(chunk, ns=(status.st_atime_ns, status.st_mtime_ns))  # names and times are kept, blocks are not
    start_again(monkeypatch, b"2" * 16)
    assert open_cache(tmp_path).open(KEY, 0) is None
    assert not chunk.exists()


def test_a_chunk_under_the_name_of_another_is_none(tmp_path: Path, chunk: Path) -> None:
    other = chunk.with_name(chunk.name.replace(".0", ".1"))
    chunk.rename(other)
    cache = open_cache(tmp_path)
    assert cache.open(KEY, 1) is None
    assert cache.read(KEY, 1, 0, 10) is None
    assert not other.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
def test_what_another_user_could_change_is_read_but_not_believed(tmp_path: Path, chunk: Path) -> None:
    os.chown(chunk, 4300, -1)
    cache = open_cache(tmp_path)
    assert cache.open(KEY, 0) is None
    assert cache.read(KEY, 0, 0, 6) == DATA[:6]
    os.chown(chunk, 0, -1)
    chunk.chmod(0o660)
    assert open_cache(tmp_path).open(KEY, 0) is None


def test_the_use_of_a_chunk_changes_no_mark(tmp_path: Path, chunk: Path, readings: list[OpenChunk]) -> None:
    os.utime(chunk, ns=(5, chunk.stat().st_mtime_ns))
    assert open_cache(tmp_path).open(KEY, 0) is not None
    [found] = open_cache(tmp_path).quota.iter_chunks()
    assert found.used_ns > 5
    assert not readings


def test_a_link_or_a_pipe_in_place_of_a_chunk_is_not_followed(tmp_path: Path, chunk: Path) -> None:
    target = tmp_path / "target"
    shutil.copy2(chunk, target)
    chunk.unlink()
    chunk.symlink_to(target)
    cache = open_cache(tmp_path)
    assert cache.read(KEY, 0, 0, 6) is None
    assert cache.load(KEY, 0, len(DATA), lambda: DATA) == DATA
    assert target.stat().st_size == chunk.stat().st_size
    assert not chunk.is_symlink()
    chunk.unlink()
    os.mkfifo(chunk)
    with pytest.raises(OSError, match="Illegal seek"):
        open_chunk(str(chunk), f"{KEY}.0")


def test_a_lock_that_is_a_link_makes_no_file_elsewhere(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    part = tmp_path / "chunks" / f"{KEY}.0.part"
    part.parent.mkdir(parents=True)
    part.symlink_to(tmp_path / "elsewhere")
    assert cache.load(KEY, 0, len(DATA), lambda: DATA) == DATA
    assert not (tmp_path / "elsewhere").exists()


def test_what_others_delete_is_closed(tmp_path: Path, chunk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artifactfs.blobstore.diskcache.SWEEP_SECONDS", -1.0)
    cache = open_cache(tmp_path)
    cache.load(KEY, 1, len(DATA), lambda: DATA)
    found = cache.open(KEY, 0)
    assert found is not None
    descriptor = found.descriptor
    del found
    chunk.unlink()
    os.fstat(descriptor)
    assert cache.open(KEY, 1) is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_the_second_file_of_a_window_asks_for_all_of_it(
    tmp_path: Path, chunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda descriptor, start, size, advice: asked.append((start, size)))
    found = open_chunk(str(chunk), f"{KEY}.0")
    assert found is not None
    for offset in (5, 5, 9, 20):
        found.read_ahead(offset)
    assert asked == [(0, WINDOW_SIZE)]
