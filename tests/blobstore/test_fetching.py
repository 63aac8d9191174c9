"""Content of a bucket: hashed when it comes, not when it is read again, and never handed out when it is wrong."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from artifactfs.blobstore import fetching
from artifactfs.blobstore.fetching import FetchedFile, FetchingBlobs
from artifactfs.blobstore.keys import blob_key, pack_key, sums_key
from artifactfs.blobstore.verifying import MemoryVerified
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import DigestMismatchError
from tests.blobstore.test_cachingstore import Bucket, open_store

LARGE = os.urandom(1 << 20) * 9 + b"end"
SUMS = b"".join(hashlib.sha256(LARGE[at : at + CHUNK_SIZE]).digest() for at in range(0, len(LARGE), CHUNK_SIZE))
SMALL, MIDDLE = b"small" * 100, os.urandom(100_000)
PACKED = bytes(CHUNK_SIZE - 250) + SMALL + MIDDLE


@dataclass(frozen=True)
class Name:
    sha256: bytes
    size: int
    sums: bytes | None = None


@dataclass(frozen=True)
class Place:
    pack: bytes
    offset: int
    size: int


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


BLOB = Name(digest(LARGE), len(LARGE), digest(SUMS))
PACK = digest(PACKED)
PARTS = {
    "small": (Name(digest(SMALL), len(SMALL)), Place(PACK, CHUNK_SIZE - 250, len(SMALL)), SMALL),
    "middle": (Name(digest(MIDDLE), len(MIDDLE)), Place(PACK, len(PACKED) - len(MIDDLE), len(MIDDLE)), MIDDLE),
}


def make_bucket() -> Bucket:
    bucket = Bucket()
    bucket.objects = {blob_key(BLOB.sha256): LARGE, sums_key(digest(SUMS)): SUMS, pack_key(PACK): PACKED}
    return bucket


class Machine:
    """A cache of a bucket, in a process that has just begun."""

    def __init__(self, bucket: Bucket, path: Path, verified: MemoryVerified | None = None) -> None:
        self.store = open_store(bucket, path)
        blobs = SimpleNamespace(store=self.store, verified=verified or MemoryVerified())
        self.blobs = FetchingBlobs(self.store, blobs)  # type: ignore[arg-type]

    def open(self, name: str = "") -> FetchedFile:
        if not name:
            return self.blobs.open_file(BLOB)
        blob, place, _ = PARTS[name]
        return self.blobs.open_file(blob, place)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the sizes of what was hashed to be compared with a digest."""
    found: list[int] = []
    matches = fetching._matches

    def note(data: bytes, wanted: bytes) -> bool:
        found.append(len(data))
        return matches(data, wanted)

    monkeypatch.setattr(fetching, "_matches", note)
    return found


@pytest.mark.parametrize(("offset", "size"), [(0, 10), (CHUNK_SIZE - 5, 10), (8 << 20, 2 << 20), (len(LARGE) - 2, 9)])
def test_a_large_file_is_hashed_as_it_comes_only(tmp_path: Path, hashed: list[int], offset: int, size: int) -> None:
    for machine in (Machine(make_bucket(), tmp_path), Machine(Bucket(), tmp_path)):
        file = machine.open()
        assert file.read_at(offset, size) == LARGE[offset : offset + size]
        buffer = bytearray(size)
        count = file.read_into(memoryview(buffer), offset)
        assert bytes(buffer[:count]) == LARGE[offset : offset + size]
        machine.store.close()
    assert hashed == []


def test_a_file_in_a_pack_is_hashed_and_a_larger_one_once_for_each_user(tmp_path: Path, hashed: list[int]) -> None:
    first = Machine(make_bucket(), tmp_path)
    for chunk in (0, 1):
        first.store.fetch(pack_key(PACK), chunk)
    verified = MemoryVerified()
    for _ in range(3):
        machine = Machine(Bucket(), tmp_path, verified)
        for name, (_, _, content) in PARTS.items():
            assert machine.open(name).read_at(0, 1 << 20) == content
            assert machine.open(name).read_at(3, 400) == content[3:403]
    assert hashed.count(len(MIDDLE)) == 1
    assert hashed.count(len(SMALL)) == 6


@pytest.mark.parametrize("name", ["", *PARTS])
def test_wrong_bytes_of_the_service_are_asked_for_again(tmp_path: Path, name: str) -> None:
    bucket = make_bucket()
    good, key = dict(bucket.objects), pack_key(PACK) if name else blob_key(BLOB.sha256)
    bucket.objects[key] = bytes(len(good[key]))
    machine = Machine(bucket, tmp_path)
    with pytest.raises(DigestMismatchError):
        machine.open(name).read_at(0, 10)
    bucket.objects[key] = good[key]
    content = PARTS[name][2] if name else LARGE
    assert machine.open(name).read_at(0, 10) == content[:10]
    machine.store.close()


def test_a_chunk_in_place_of_another_is_not_handed_out(tmp_path: Path) -> None:
    machine = Machine(make_bucket(), tmp_path)
    assert machine.open().read_at(0, 10) == LARGE[:10]
    machine.store.close()
    key = blob_key(BLOB.sha256)
    machine.store.cache.forget(key, 0)
    machine.store.cache.load(key, 0, CHUNK_SIZE, lambda: bytes(CHUNK_SIZE))  # sound, and not what the sums say
    other = Machine(make_bucket(), tmp_path)
    assert other.open().read_at(0, 10) == LARGE[:10]
    other.store.close()
