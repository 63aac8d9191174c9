"""What is asked of a bucket: each chunk once, ahead of who reads in order, and nothing that is kept already."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from artifactfs.blobstore.cachequota import CacheLimits
from artifactfs.blobstore.cachingstore import CachingStore
from artifactfs.blobstore.chunkreader import AHEAD_CHUNKS
from artifactfs.blobstore.diskcache import DiskCache
from artifactfs.blobstore.keys import blob_key, pack_key
from artifactfs.blobstore.retrying import RetryPolicy
from artifactfs.blobstore.touching import SCATTERED
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import BlobMissingError, RemoteError, RemoteUnavailableError

DATA = os.urandom(1 << 20) * 40 + b"the end"
BLOB, PACK = blob_key(hashlib.sha256(DATA).digest()), pack_key(hashlib.sha256(DATA).digest())
COUNT = -(-len(DATA) // CHUNK_SIZE)


class Bucket:
    """Objects in memory; notes each request."""

    def __init__(self, **more: bytes) -> None:
        self.objects = {BLOB: DATA, PACK: DATA, **more}
        self.ranges: list[tuple[str, int, int]] = []
        self.reads: list[str] = []
        self.gate: threading.Event | None = None
        self.is_down = False
        self.asked = threading.Condition()

    def wait_for_chunk(self, number: int) -> None:
        """Return when a chunk was asked for."""
        with self.asked:
            assert self.asked.wait_for(lambda: any(at == number * CHUNK_SIZE for _, at, _ in self.ranges), 60)

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        with self.asked:
            self.ranges.append((key, offset, size))
            self.asked.notify_all()
        if self.gate is not None:
            assert self.gate.wait(60)
        self._check(key)
        data = self.objects[key][offset : offset + size]
        if len(data) != size:
            raise RemoteError("too short")
        return data

    def read(self, key: str) -> bytes:
        self.reads.append(key)
        self._check(key)
        return self.objects[key]

    def find_size(self, key: str) -> int | None:
        self._check(key)
        return len(self.objects[key]) if key in self.objects else None

    def _check(self, key: str) -> None:
        if self.is_down:
            raise RemoteUnavailableError("no answer")
        if key not in self.objects:
            raise BlobMissingError("not there")


def open_store(bucket: Bucket, path: Path, *, size: int = 1 << 30) -> CachingStore:
    policy = RetryPolicy(1, 1.0, os.urandom)
    return CachingStore(bucket, policy, cache=DiskCache(str(path), CacheLimits(size, 0)))  # type: ignore[arg-type]


def read_blob(store: CachingStore, number: int) -> bytes:
    """Read one chunk as blobs are read: aligned, and up to the blob's end."""
    start = number * CHUNK_SIZE
    return store.read_range(BLOB, start, min(CHUNK_SIZE, len(DATA) - start))


def test_reading_in_order_asks_for_each_chunk_once_and_ahead(tmp_path: Path) -> None:
    bucket = Bucket()
    store = open_store(bucket, tmp_path)
    assert b"".join(read_blob(store, number) for number in range(COUNT)) == DATA
    store.close()
    assert sorted(offset // CHUNK_SIZE for _, offset, _ in bucket.ranges) == list(range(COUNT))
    again = Bucket()
    again.is_down = True
    assert b"".join(read_blob(open_store(again, tmp_path), number) for number in range(COUNT)) == DATA


def test_what_is_ahead_grows_while_it_is_read_in_order_and_not_otherwise(tmp_path: Path) -> None:
    bucket = Bucket()
    store = open_store(bucket, tmp_path)
    read_blob(store, 3)
    assert [offset // CHUNK_SIZE for _, offset, _ in bucket.ranges] == [3]
    read_blob(store, 8)
    assert len(bucket.ranges) == 2
    bucket.gate = threading.Event()
    store.note_range(BLOB, 9 * CHUNK_SIZE)
    store.note_range(BLOB, 10 * CHUNK_SIZE)
    bucket.gate.set()
    bucket.wait_for_chunk(COUNT - 1)
    store.close()
    assert max(offset // CHUNK_SIZE for _, offset, _ in bucket.ranges) == min(COUNT - 1, 12)
    assert AHEAD_CHUNKS * CHUNK_SIZE == 64 << 20


def test_a_hundred_readers_of_one_cold_object_ask_once(tmp_path: Path) -> None:
    bucket = Bucket()
    stores = [open_store(bucket, tmp_path) for _ in range(4)]  # as many processes have it
    with ThreadPoolExecutor(100) as threads:
        reads = [threads.submit(read_blob, stores[number % 4], number % 5) for number in range(100)]
        for number, read in enumerate(reads):
            start = number % 5 * CHUNK_SIZE
            assert read.result() == DATA[start : start + CHUNK_SIZE]
    for store in stores:
        store.close()
    counts = Counter(offset for _, offset, _ in bucket.ranges)
    assert max(counts.values()) == 1


def test_small_files_in_tree_order_bring_their_pack_along(tmp_path: Path) -> None:
    bucket = Bucket()
    store = open_store(bucket, tmp_path)
    size = 16 << 10
    for offset in range(0, len(DATA) - size, size):
        assert store.read_range(PACK, offset, size) == DATA[offset : offset + size]
    store.close()
    assert len(bucket.ranges) <= 2 * COUNT, "2,560 files in two requests for each 4 MiB at most"


def test_a_lone_small_file_is_asked_for_by_its_own_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket()
    sizes: list[str] = []
    find_size = bucket.find_size
    monkeypatch.setattr(bucket, "find_size", lambda key: sizes.append(key) or find_size(key))
    store = open_store(bucket, tmp_path)
    assert store.read_range(PACK, 9 << 20, 1000) == DATA[9 << 20 :][:1000]
    assert bucket.ranges == [(PACK, 9 << 20, 1000)]
    assert sizes == [], "one round trip"
    assert store.read_range(PACK, (9 << 20) + 1000, 1000) == DATA[(9 << 20) + 1000 :][:1000]
    assert bucket.ranges[1:] == [(PACK, 8 << 20, CHUNK_SIZE)]


def test_a_shuffled_epoch_asks_for_a_few_files_and_then_for_all_of_the_pack(tmp_path: Path) -> None:
    bucket = Bucket()
    store = open_store(bucket, tmp_path)
    offsets = list(range(0, len(DATA) - 4096, 64 << 10))
    random.Random(1).shuffle(offsets)
    for offset in offsets:
        assert store.read_range(PACK, offset, 4096) == DATA[offset : offset + 4096]
    store.close()
    alone = [offset for _, offset, size in bucket.ranges if size == 4096]
    assert len(alone) <= SCATTERED
    chunks = [offset // CHUNK_SIZE for _, offset, size in bucket.ranges if size != 4096]
    assert sorted(chunks) == list(range(COUNT)), "each once"


def test_a_few_files_of_many_cost_no_more_than_they_have(tmp_path: Path) -> None:
    bucket = Bucket()
    store = open_store(bucket, tmp_path)
    offsets = random.Random(1).sample(range(0, len(DATA) - 4096, 64 << 10), SCATTERED - 1)
    for offset in offsets:
        store.read_range(PACK, offset, 4096)
    store.close()
    assert sum(size for _, _, size in bucket.ranges) <= SCATTERED * 4096 + 2 * CHUNK_SIZE, "but for near ones"


def test_a_cache_of_half_the_data_stays_within_its_size(tmp_path: Path) -> None:
    bucket = Bucket()
    store = open_store(bucket, tmp_path, size=len(DATA) // 2)
    for _ in range(2):
        assert b"".join(read_blob(store, number) for number in range(COUNT)) == DATA
    store.close()
    assert store.cache.quota.used() <= len(DATA) // 2
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= len(DATA) // 2 + 64


def test_a_failed_request_is_the_readers_error_and_the_next_one_asks_again(tmp_path: Path) -> None:
    bucket = Bucket()
    store = open_store(bucket, tmp_path)
    bucket.is_down = True
    with pytest.raises(RemoteUnavailableError):
        read_blob(store, 0)
    bucket.is_down = False
    assert read_blob(store, 0) == DATA[:CHUNK_SIZE]
    with pytest.raises(BlobMissingError):
        store.read_range(blob_key(bytes(32)), 0, 10)
    with pytest.raises(RemoteError):
        store.read_range(PACK, len(DATA) - 5, 10)


def test_sums_are_kept_and_logs_are_not(tmp_path: Path) -> None:
    bucket = Bucket(**{"sums/ab/1": b"s" * 64, "collections/animals/1": b"record"})
    for _ in range(3):
        store = open_store(bucket, tmp_path)
        assert store.read("sums/ab/1") == b"s" * 64
        assert store.read("collections/animals/1") == b"record"
    assert bucket.reads == ["sums/ab/1", *["collections/animals/1"] * 3]


def test_who_opens_an_object_sees_what_the_bucket_has(tmp_path: Path) -> None:
    bucket = Bucket()
    store = open_store(bucket, tmp_path)
    read_blob(store, 0)
    bucket.objects[BLOB] = b"damaged" + DATA[7:]
    assert store.open(BLOB).read_at(0, 7) == b"damaged"
    assert read_blob(store, 0)[:7] == DATA[:7]


def test_wrong_bytes_are_forgotten_and_asked_for_again(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.objects[BLOB] = b"damaged" + DATA[7:]
    store = open_store(bucket, tmp_path)
    assert read_blob(store, 0)[:7] == b"damaged"
    bucket.objects[BLOB] = DATA
    assert store.forget_range(BLOB, 0, CHUNK_SIZE)
    assert not store.forget_range(BLOB, 0, CHUNK_SIZE)
    assert read_blob(store, 0) == DATA[:CHUNK_SIZE]


def test_files_read_in_random_order_from_a_small_cache_come_by_themselves(tmp_path: Path) -> None:
    bucket = Bucket()
    store = open_store(bucket, tmp_path, size=2 * CHUNK_SIZE + 200)
    size = 1 << 16
    for number in range(5):  # twice each, so that chunks are fetched, and the first ones evicted
        for offset in (0, size):
            store.read_range(PACK, number * CHUNK_SIZE + offset, size)
    bucket.ranges.clear()
    wanted = [(number * CHUNK_SIZE + 7 * size * turn) for turn in range(2, 6) for number in (0, 1)]
    for offset in wanted:
        assert store.read_range(PACK, offset, size) == DATA[offset : offset + size]
    assert [at for _, at, length in bucket.ranges if at <= CHUNK_SIZE and length > size] == []
    bucket.ranges.clear()
    for offset in range(0, CHUNK_SIZE, size):  # in order a chunk comes as a whole again
        store.read_range(PACK, offset, size)
    assert len([length for _, _, length in bucket.ranges if length == size]) <= 2
    store.close()


def test_what_follows_is_fetched_when_the_end_is_in_sight(tmp_path: Path) -> None:
    following = PACK.replace("packs/", "packs/f")
    bucket = Bucket(**{following: DATA})
    store = open_store(bucket, tmp_path)
    asked: list[int] = []

    def find_next() -> str:
        asked.append(1)
        return following

    size = 1 << 16
    store.note_next(PACK, find_next)
    for number in (0, 1, 2):
        for turn in (0, 1):
            store.read_range(PACK, number * CHUNK_SIZE + turn * size, size)
        store.note_next(PACK, find_next)
    assert not asked, "the end is out of reach"
    for number in range(3, COUNT - 1):  # the window depends on what has arrived by then, and is whole at the end
        for turn in (0, 1):
            store.read_range(PACK, number * CHUNK_SIZE + turn * size, size)
        store.note_next(PACK, find_next)
    assert asked

    def count() -> int:
        return len({at for key, at, _ in bucket.ranges if key == following})

    with bucket.asked:
        assert bucket.asked.wait_for(lambda: count() >= COUNT - 2, 60)
    store.close()
    assert max(Counter(bucket.ranges).values()) == 1
