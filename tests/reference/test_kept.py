"""What is kept of references: only what this user fetched, under the name that it was fetched for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.blobstore.chunkfiles import write_chunk
from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.digest import CHUNK_SIZE
from artifactfs.model import ReferenceEntry
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References

from .odd_server import Odd, running_odd_server

DATA, OTHER = os.urandom(70_000), os.urandom(70_000)


@pytest.fixture
def odd() -> Iterator[Odd]:
    with running_odd_server() as server:
        server.files |= {"/a": DATA, "/b": OTHER}
        yield server


def open_references(odd: Odd, cache: Path) -> References:
    return References(ReferencePolicy((odd.url,)), RemoteOptions(cache=str(cache), cache_free=0))


def find(odd: Odd, references: References, name: str) -> ReferenceEntry:
    [(_, entry)] = list(references.iter_entries(f"{odd.url}/{name}"))
    return entry


def read(odd: Odd, cache: Path, name: str) -> tuple[bytes, int]:
    """Read a reference, and return its content with how many requests that took besides asking what is there."""
    references = open_references(odd, cache)
    entry = find(odd, references, name)
    odd.requests.clear()
    data = references.open(entry).read_at(0, entry.size)
    references.close()
    return data, len(odd.requests)


def chunk_of(odd: Odd, cache: Path, name: str) -> Path:
    references = open_references(odd, cache)
    return cache / "chunks" / references.name_chunk(find(odd, references, name), 0)


def test_what_was_read_is_not_asked_for_again(odd: Odd, tmp_path: Path) -> None:
    assert read(odd, tmp_path, "a") == (DATA, 1)
    assert read(odd, tmp_path, "a") == (DATA, 0)


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
def test_what_another_user_put_there_is_not_believed(odd: Odd, tmp_path: Path) -> None:
    path = chunk_of(odd, tmp_path, "a")
    path.parent.mkdir(parents=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    write_chunk(descriptor, OTHER, str(path.relative_to(tmp_path / "chunks")))
    os.close(descriptor)
    assert read(odd, tmp_path, "a") == (OTHER, 0), "the forgery is a good one"
    os.chown(path, 4300, -1)
    assert read(odd, tmp_path, "a") == (DATA, 1)
    assert path.stat().st_uid == 0
    assert read(odd, tmp_path, "a") == (DATA, 0)


def test_a_chunk_of_another_reference_is_not_taken_for_it(odd: Odd, tmp_path: Path) -> None:
    read(odd, tmp_path, "a")
    read(odd, tmp_path, "b")
    shutil.move(chunk_of(odd, tmp_path, "b"), chunk_of(odd, tmp_path, "a"))
    assert read(odd, tmp_path, "a") == (DATA, 1)


def test_each_user_has_chunks_of_his_own(odd: Odd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = chunk_of(odd, tmp_path, "a")
    monkeypatch.setattr(os, "geteuid", lambda: 4300)
    assert chunk_of(odd, tmp_path, "a") != mine


def test_a_part_of_content_is_read_into_a_buffer(odd: Odd, tmp_path: Path) -> None:
    odd.files["/large"] = large = os.urandom(CHUNK_SIZE + 1000)
    references = open_references(odd, tmp_path)
    file = references.open(find(odd, references, "large"))
    for offset, size in ((0, 10), (CHUNK_SIZE - 5, 10), (CHUNK_SIZE + 990, 100), (CHUNK_SIZE + 1000, 5)):
        buffer = bytearray(size)
        count = file.read_into(memoryview(buffer), offset)
        assert bytes(buffer[:count]) == large[offset : offset + size]
    references.close()
