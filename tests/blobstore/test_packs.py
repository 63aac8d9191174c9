"""Packs: small blobs end to end, found by their offset; what is there, and whole, is not stored again."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactfs.blobstore import packing
from artifactfs.blobstore.base import ObjectBatch
from artifactfs.blobstore.blobbatch import BlobBatch
from artifactfs.blobstore.blobs import BlobStore, StoredBlob
from artifactfs.blobstore.keys import blob_key, pack_key
from artifactfs.blobstore.local import open_local_store
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.blobstore.packing import Packer, Place
from artifactfs.blobstore.packs import LOOK_AGAIN_SECONDS, WINDOW_SECONDS, WINDOW_SIZE, PackFiles
from artifactfs.blobstore.places import KnownPlace
from artifactfs.blobstore.verifying import MemoryVerified, VerifyingBlobs
from artifactfs.errors import BlobMissingError, DigestMismatchError, StorageFullError

BELOW = 1 << 20


def make_blobs(store: MemoryStore) -> tuple[BlobStore, VerifyingBlobs]:
    verified = MemoryVerified()
    blobs = BlobStore(store, verified, packed_below=BELOW)
    return blobs, VerifyingBlobs(blobs, verified)


def store_all(blobs: BlobStore, contents: Iterable[bytes]) -> list[StoredBlob]:
    with BlobBatch(blobs, blobs.store.begin_batch()) as batch:
        found = [batch.store_bytes(data) for data in contents]
        batch.flush()
    return found


def read(verifying: VerifyingBlobs, blob: StoredBlob) -> bytes:
    file = verifying.open_file(blob, blob.place)
    try:
        return file.read_at(0, blob.size + 10)
    finally:
        file.close()


def keys(store: MemoryStore, prefix: str) -> list[str]:
    return sorted(store.iter_keys(prefix))


def test_a_pack_is_its_files_end_to_end_under_the_digest_of_the_whole() -> None:
    store = MemoryStore()
    blobs, _ = make_blobs(store)
    cat, empty, dog, again = store_all(blobs, [b"cat\n", b"", b"doggy\n", b"cat\n"])
    name = hashlib.sha256(b"cat\ndoggy\n").hexdigest()
    assert store.objects == {f"packs/{name[:2]}/{name}": b"cat\ndoggy\n"}
    places = [(blob.place.offset, blob.place.size) for blob in (cat, empty, dog, again) if blob.place]
    assert places == [(0, 4), (4, 0), (4, 6), (0, 4)]
    assert cat.place is not None
    assert cat.place.pack.hex() == name


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"same", b"x" * 300])), max_size=40),
    st.sampled_from([1, 64, 400]),
    st.sampled_from([2, 5, 1000]),
)
def test_every_blob_is_read_back_wherever_packs_end(contents: list[bytes], size: int, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "PACK_SIZE", size)
        patch.setattr(packing, "PACK_COUNT", count)
        patch.setattr(packing, "STREAM_FROM", 100)
        patch.setattr(packing, "BLOCK_SIZE", 30)
        first, second = MemoryStore(), MemoryStore()
        blobs, verifying = make_blobs(first)
        stored = store_all(blobs, contents)
        assert [read(verifying, blob) for blob in stored] == contents
        store_all(make_blobs(second)[0], contents)
        assert first.objects == second.objects, "the same files in the same order give the same packs"
        assert sum(map(len, first.objects.values())) == sum(map(len, set(contents))), "each content is there once"
        store_all(blobs, contents)
        assert first.objects == second.objects, "nothing is stored twice"


def test_what_the_index_knows_and_the_store_lost_is_stored_again() -> None:
    store = MemoryStore()
    blobs, verifying = make_blobs(store)
    store_all(blobs, [b"cat\n", b"dog\n"])
    [key] = keys(store, "packs/")
    del store.objects[key]
    [cat] = store_all(blobs, [b"cat\n"])
    assert read(verifying, cat) == b"cat\n"
    assert keys(store, "packs/") == [pack_key(hashlib.sha256(b"cat\n").digest())]


def test_what_is_damaged_is_stored_again_and_the_rest_is_not() -> None:
    store = MemoryStore()
    blobs, verifying = make_blobs(store)
    store_all(blobs, [b"cat\n", b"dog\n"])
    [key] = keys(store, "packs/")
    store.put(key, b"caT\ndog\n")
    blobs.packs.forget()
    cat, dog = store_all(blobs, [b"cat\n", b"dog\n"])
    assert [read(verifying, blob) for blob in (cat, dog)] == [b"cat\n", b"dog\n"]
    assert cat.place is not None
    assert dog.place is not None
    assert pack_key(dog.place.pack) == key
    assert pack_key(cat.place.pack) != key


def test_a_damaged_pack_of_the_same_name_is_replaced() -> None:
    store = MemoryStore()
    blobs, verifying = make_blobs(store)
    store_all(blobs, [b"cat\n"])
    [key] = keys(store, "packs/")
    store.put(key, b"caT\n")
    blobs.packs.forget()
    [cat] = store_all(blobs, [b"cat\n"])
    blobs.packs.forget()
    assert read(verifying, cat) == b"cat\n"
    assert keys(store, "packs/") == [key]


def test_a_blob_that_is_an_object_of_its_own_stays_one() -> None:
    store = MemoryStore()
    store_all(BlobStore(store, MemoryVerified()), [b"cat\n"])
    blobs, verifying = make_blobs(store)
    [cat] = store_all(blobs, [b"cat\n"])
    assert cat.place is None
    assert read(verifying, cat) == b"cat\n"
    assert keys(store, "") == [blob_key(cat.sha256)]


def test_large_blobs_are_objects_of_their_own() -> None:
    store = MemoryStore()
    blobs, verifying = make_blobs(store)
    small, large = store_all(blobs, [b"s" * (BELOW - 1), b"l" * BELOW])
    assert small.place is not None
    assert large.place is None
    assert [len(read(verifying, blob)) for blob in (small, large)] == [BELOW - 1, BELOW]


def test_a_flipped_bit_is_not_served_whether_or_not_the_pack_was_verified() -> None:
    store = MemoryStore()
    blobs, verifying = make_blobs(store)
    cat, dog = store_all(blobs, [b"cat\n", b"dog\n"])
    assert read(verifying, cat) == b"cat\n"
    [key] = keys(store, "packs/")
    store.put(key, b"caT\ndog\n")
    for _ in range(2):
        blobs.packs.forget()
        with pytest.raises(DigestMismatchError):
            verifying.open_file(cat, cat.place)
        assert read(verifying, dog) == b"dog\n"


def test_a_wrong_place_in_a_verified_pack_is_not_served() -> None:
    store = MemoryStore()
    blobs, verifying = make_blobs(store)
    cat, dog = store_all(blobs, [b"cat\n", b"dog\n"])
    assert dog.place is not None
    with pytest.raises(DigestMismatchError):
        verifying.open_file(cat, dog.place)
    with pytest.raises(DigestMismatchError):
        verifying.open_file(cat, KnownPlace(dog.place.pack, 6, 4))


class Now:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_pack_is_opened_once_and_looked_at_again_later(tmp_path: Path) -> None:
    now = Now()
    with open_local_store(str(tmp_path)) as store:
        digest = hashlib.sha256(b"cat\ndog\n").digest()
        store.create(pack_key(digest), b"cat\ndog\n")
        packs = PackFiles(store, MemoryVerified(), now=now)
        place = KnownPlace(digest, 4, 4)
        part = packs.open_part(place)
        assert part.read_at(1, 9) == b"og\n"
        assert packs.open_part(place).extent() == part.extent()
        path = tmp_path / pack_key(digest)
        path.chmod(0o644)
        path.write_bytes(b"cat\ndoG\n")
        before = part.signature()
        now.seconds += LOOK_AGAIN_SECONDS
        assert packs.open_part(place).signature() != before
        path.unlink()
        now.seconds += LOOK_AGAIN_SECONDS
        assert packs.open_part(place).read_at(0, 4) == b"doG\n", "what was deleted is still open"
        packs.forget()
        with pytest.raises(BlobMissingError):
            packs.open_part(place)


def test_the_second_file_of_a_window_has_the_whole_window_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_local_store(str(tmp_path))
    data = bytes(2 * WINDOW_SIZE)
    name = hashlib.sha256(data).digest()
    store.create(pack_key(name), data)
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, size, advice: asked.append((start, size)))
    now = Now()
    packs = PackFiles(store, MemoryVerified(), now=now)

    def open_at(offset: int) -> None:
        packs.open_part(KnownPlace(name, offset, 10))

    open_at(WINDOW_SIZE + 10)
    open_at(WINDOW_SIZE + 10)
    open_at(30)
    assert asked == []  # a lone file brings nothing along
    open_at(WINDOW_SIZE + 500)
    open_at(WINDOW_SIZE + 900)
    assert asked == [(WINDOW_SIZE, WINDOW_SIZE)]
    now.seconds += WINDOW_SECONDS + 1
    open_at(WINDOW_SIZE + 10)
    open_at(WINDOW_SIZE + 500)
    assert len(asked) == 2
    store.close()


def test_parts_outlive_the_pack_that_is_closed_under_them(tmp_path: Path) -> None:
    with open_local_store(str(tmp_path)) as store:
        digest = hashlib.sha256(b"cat\n").digest()
        store.create(pack_key(digest), b"cat\n")
        packs = PackFiles(store, MemoryVerified())
        part = packs.open_part(KnownPlace(digest, 0, 4))
        packs.forget()
        assert part.read_at(0, 4) == b"cat\n"


class FullBatch:
    """A batch with room for so many bytes."""

    def __init__(self, batch: ObjectBatch, room: int) -> None:
        self._batch, self.room = batch, room
        self.discarded = 0

    def write(self, chunks: Iterable[bytes | memoryview]) -> object:
        found = []
        for chunk in chunks:
            self.room -= len(chunk)
            if self.room < 0:
                raise StorageFullError("no room")
            found.append(bytes(chunk))
        return self._batch.write(found)

    def name(self, handle: object, key: str) -> None:
        self._batch.name(handle, key)

    def discard(self, handle: object) -> None:
        self.discarded += 1
        self._batch.discard(handle)


@pytest.mark.parametrize("room", [0, 25, 95, 130])
def test_a_full_disk_is_told_to_whoever_fills_the_pack(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(packing, "STREAM_FROM", 40)
    monkeypatch.setattr(packing, "BLOCK_SIZE", 20)
    store = MemoryStore()
    packer = Packer(FullBatch(store.begin_batch(), room), key=pack_key)  # type: ignore[arg-type]

    def fill() -> None:
        for _ in range(14):
            packer.add(b"0123456789")
        packer.seal()

    with pytest.raises(StorageFullError):
        fill()
    packer.abort()
    assert not [thread for thread in threading.enumerate() if thread.name == "pack"]


def test_a_pack_that_is_given_up_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "STREAM_FROM", 40)
    batch = FullBatch(MemoryStore().begin_batch(), 1 << 20)
    packer = Packer(batch, key=pack_key)  # type: ignore[arg-type]
    for _ in range(14):
        packer.add(b"0123456789")
    packer.abort()
    assert batch.discarded == 1
    assert packer.seal() is None


def test_a_place_learns_its_name_when_the_pack_is_complete() -> None:
    packer = Packer(MemoryStore().begin_batch(), key=pack_key)
    place = packer.add(b"cat\n")
    assert isinstance(place, Place)
    assert place.name.digest is None
    packer.seal()
    assert place.pack == hashlib.sha256(b"cat\n").digest()
