"""The contract of a store: what every implementation of `blobstore.base.Store` keeps.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self):
            return MyStore(...)

Threading: tests.
"""

from __future__ import annotations

import io
import threading
import time
from typing import TYPE_CHECKING

import pytest

from artifactfs.blobstore.keys import blob_key
from artifactfs.digest import hash_bytes
from artifactfs.errors import BlobMissingError, DigestMismatchError

if TYPE_CHECKING:
    from artifactfs.blobstore.base import Store
    from artifactfs.blobstore.retrying import RetryingStore

RACERS = 8
SEVERAL_PARTS = 20 << 20
SOON_SECONDS = 60


class StoreContract:
    """Tests that every store passes; `store` is an empty one."""

    @pytest.fixture
    def store(self) -> Store:
        """Return an empty store."""
        raise NotImplementedError

    def test_what_was_created_is_read(self, store: Store) -> None:
        """Whole and in parts, with its size."""
        assert store.create("format/1.json", b"0123456789")
        assert store.read("format/1.json") == b"0123456789"
        assert store.find_size("format/1.json") == 10
        file = store.open("format/1.json")
        assert (file.size, file.read_at(3, 4), file.read_at(8, 99), file.read_at(10, 1)) == (10, b"3456", b"89", b"")
        file.close()
        file.close()

    def test_many_are_read_in_order(self, store: Store) -> None:
        """Whatever the order in which they come, and a missing one is named."""
        keys = [f"a/{number}" for number in range(10)]
        for key in keys:
            store.create(key, key.encode())
        assert list(store.read_many(reversed(keys))) == [key.encode() for key in reversed(keys)]
        assert list(store.read_many([])) == []
        with pytest.raises(BlobMissingError, match="a/none"):
            list(store.read_many([*keys, "a/none"]))

    def test_an_object_is_created_once(self, store: Store) -> None:
        """The second one is told that it exists, and changes nothing."""
        assert store.create("a/b", b"first")
        assert not store.create("a/b", b"second")
        assert store.read("a/b") == b"first"

    def test_what_is_not_there_is_named(self, store: Store) -> None:
        """By its key, whichever way it was asked for."""
        assert store.find_size("a/none") is None
        for ask in (store.read, store.open):
            with pytest.raises(BlobMissingError, match="a/none"):
                ask("a/none")

    def test_one_of_many_at_once_creates_it(self, store: Store) -> None:
        """And all read what that one wrote."""
        won: list[bytes] = []

        def race(name: bytes) -> None:
            if store.create("race/1", name):
                won.append(name)

        threads = [threading.Thread(target=race, args=(b"%d" % number,)) for number in range(RACERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [store.read("race/1")]

    def test_keys_are_listed_below_a_prefix(self, store: Store) -> None:
        """Whole keys, and the names that follow the prefix."""
        for key in ("a/b/1", "a/b/2", "a/c", "d"):
            store.create(key, b"x")
        assert sorted(store.iter_keys("")) == ["a/b/1", "a/b/2", "a/c", "d"]
        assert sorted(store.iter_keys("a/b/")) == ["a/b/1", "a/b/2"]
        assert sorted(store.iter_children("a/")) == ["b", "c"]
        assert list(store.iter_keys("none/")) == []

    def test_what_was_deleted_is_gone(self, store: Store) -> None:
        """And may be created again; what is not there is deleted without complaint."""
        for key in ("blobs/ab/1", "blobs/ab/2", "prune/x/done"):
            store.create(key, b"x")
        store.delete(["blobs/ab/1", "blobs/cd/none", "prune/x/done"])
        assert sorted(store.iter_keys("")) == ["blobs/ab/2"]
        assert store.find_size("blobs/ab/1") is None
        assert store.create("blobs/ab/1", b"again")
        assert store.create("prune/x/done", b"again")
        assert store.read("blobs/ab/1") == b"again"

    def test_a_batch_shows_all_when_it_is_flushed(self, store: Store) -> None:
        """And says what appeared, with signatures that an open file has."""
        names = {blob_key(hash_bytes(data).raw): data for data in (b"one", b"two", b"")}
        with store.begin_batch() as batch:
            for key, data in names.items():
                batch.name(batch.write((data[:1], data[1:])), key)
            published = batch.flush()
            assert sorted(item.key for item in published) == sorted(names)
            assert batch.flush() == []
        for key, data in names.items():
            assert store.read(key) == data
        for item in published:
            file = store.open(item.key)
            assert file.signature() == item.signature
            file.close()

    def test_a_batch_that_is_left_leaves_nothing(self, store: Store) -> None:
        """Named or not."""
        with store.begin_batch() as batch:
            batch.name(batch.write((b"named",)), "blobs/aa/named")
            batch.write((b"unnamed",))
            batch.discard(batch.write((b"discarded",)))
        assert list(store.iter_keys("")) == []

    def test_what_is_there_is_reused_by_its_size(self, store: Store) -> None:
        """Also what this batch will publish."""
        store.create("blobs/aa/old", b"12345")
        with store.begin_batch() as batch:
            batch.name(batch.write((b"123",)), "blobs/aa/new")
            assert batch.reuse("blobs/aa/old", 5)
            assert batch.reuse("blobs/aa/new", 3)
            assert not batch.reuse("blobs/aa/old", 4)
            assert not batch.reuse("blobs/aa/none", 1)
            batch.flush()

    def test_an_object_of_the_same_name_and_size_stays(self, store: Store) -> None:
        """Unless it is distrusted, or has another size."""
        for key in ("blobs/aa/same", "blobs/aa/distrusted"):
            store.create(key, b"old")
        store.create("blobs/aa/short", b"o")
        before = store.open("blobs/aa/same").signature()
        with store.begin_batch() as batch:
            batch.distrust("blobs/aa/distrusted")
            for key in ("blobs/aa/same", "blobs/aa/distrusted", "blobs/aa/short"):
                batch.name(batch.write((b"new",)), key)
            batch.flush()
        assert store.open("blobs/aa/same").signature() == before
        assert store.read("blobs/aa/distrusted") == b"new"
        assert store.read("blobs/aa/short") == b"new"

    def test_threads_share_a_batch(self, store: Store) -> None:
        """Each object appears, with its own bytes."""
        with store.begin_batch() as batch:

            def write(number: int) -> None:
                for index in range(20):
                    batch.name(batch.write((b"%d-%d" % (number, index),)), f"blobs/aa/{number}-{index}")

            threads = [threading.Thread(target=write, args=(number,)) for number in range(RACERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            batch.flush()
        assert len(list(store.iter_keys("blobs/"))) == RACERS * 20
        assert store.read("blobs/aa/3-7") == b"3-7"


class RemoteContract(StoreContract):
    """Tests that every bucket passes besides; `store` is an empty one that is also a `RemoteObjects`."""

    @pytest.fixture
    def store(self) -> RetryingStore:
        """Return an empty bucket."""
        raise NotImplementedError

    def test_parts_are_read_without_opening(self, store: RetryingStore) -> None:
        """Exactly, or not at all."""
        store.create("a/b", b"0123456789")
        assert store.read_range("a/b", 2, 5) == b"23456"
        assert store.read_range("a/b", 9, 1) == b"9"
        assert store.read_range("a/b", 4, 0) == b""
        with pytest.raises(BlobMissingError, match="a/none"):
            store.read_range("a/none", 0, 1)

    def test_listing_goes_on_after_a_key(self, store: RetryingStore) -> None:
        """In order."""
        for number in range(5):
            store.create(f"collections/x/log/{number:020}", b"x")
        found = list(store.iter_keys_after("collections/x/log/", f"collections/x/log/{2:020}"))
        assert found == [f"collections/x/log/{number:020}" for number in (3, 4)]

    def test_a_listing_tells_sizes(self, store: RetryingStore) -> None:
        """With the keys, in order."""
        for number in (2, 0, 1):
            store.create(f"a/{number}", b"x" * number)
        store.create("b", b"other")
        assert list(store.iter_sizes_after("a/", "")) == [("a/0", 0), ("a/1", 1), ("a/2", 2)]
        assert list(store.iter_sizes_after("none/", "")) == []

    def test_it_says_when_an_object_came(self, store: RetryingStore) -> None:
        """By its own clock, which here is that of this machine."""
        store.create("a/b", b"x")
        found = store.find_time_ns("a/b")
        assert found is not None
        assert abs(found / 1e9 - time.time()) < SOON_SECONDS
        assert store.find_time_ns("a/none") is None

    def test_an_object_in_parts_appears_when_it_hashes_to_its_name(self, store: RetryingStore) -> None:
        """And leaves nothing when it does not."""
        data = bytes(range(256)) * (SEVERAL_PARTS // 256)
        good, bad = blob_key(hash_bytes(data).raw), blob_key(hash_bytes(b"other").raw)
        store.upload(good, io.BytesIO(data), len(data))
        assert store.find_size(good) == len(data)
        assert store.read_range(good, len(data) - 1000, 1000) == data[-1000:]
        for source in (data, data[:-1]):
            with pytest.raises(DigestMismatchError, match=bad):
                store.upload(bad, io.BytesIO(source), len(data))
        assert store.find_size(bad) is None
        with pytest.raises(DigestMismatchError):
            store.create(bad, b"not that")
        assert store.find_size(bad) is None

    def test_large_objects_go_through_a_batch(self, store: RetryingStore) -> None:
        """One that is there already is not sent again."""
        data = b"large" * (SEVERAL_PARTS // 5)
        key = blob_key(hash_bytes(data).raw)
        for _ in range(2):
            with store.begin_batch() as batch:
                batch.name(batch.write(data[at : at + 1_000_000] for at in range(0, len(data), 1_000_000)), key)
                batch.flush()
        assert store.find_size(key) == len(data)

    def test_what_is_deleted_is_gone(self, store: RetryingStore) -> None:
        """And may be deleted again."""
        store.create("a/b", b"x")
        store.delete(["a/b"])
        store.delete(["a/b"])
        assert store.find_size("a/b") is None
