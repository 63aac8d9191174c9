"""Lists of files that a run looked up are sealed, so that any other bytes are found; older ones are read, too."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from artifactfs.errors import IntegrityError
from artifactfs.repository.check import check_repository
from artifactfs.repository.runfiles import LookedUpFile, decode_files, encode_files
from artifactfs.runs.history import RunLog
from artifactfs.testing.repositories import make_repository

FILES = [
    LookedUpFile("animals:v1", 'odd","seal":"sha256:' + "0" * 64 + '","size":7', 3),
    LookedUpFile("animals:v1", "back\\", 4),
    LookedUpFile("plants:v0", "dog", 1 << 40),
]


class _Earlier(msgspec.Struct, frozen=True):
    """A line as readers know it that do not know seals."""

    artifact: str
    path: str
    size: int


def test_a_list_is_read_by_all_releases() -> None:
    data = encode_files(FILES)
    assert decode_files(data, key="k") == FILES
    earlier = msgspec.json.Decoder(_Earlier).decode_lines(data)
    assert [(file.artifact, file.path, file.size) for file in earlier] == [
        msgspec.structs.astuple(file) for file in FILES
    ]
    older = msgspec.json.Encoder(order="sorted").encode_lines(FILES)
    assert decode_files(older, key="k") == FILES


def test_any_other_byte_is_found() -> None:
    data = encode_files(FILES)
    for offset in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[offset] ^= 1 << bit
            with pytest.raises(IntegrityError):
                decode_files(bytes(flipped), key="k")


def test_a_list_that_was_cut_is_found() -> None:
    """At the end of a line, too."""
    data = encode_files(FILES)
    for size in range(len(data)):
        with pytest.raises(IntegrityError):
            decode_files(data[:size], key="k")


def test_what_is_missing_of_a_run_is_found(tmp_path: Path) -> None:
    with make_repository(tmp_path, use_index=False) as repository:
        runs = RunLog(repository.store, clock=repository.clock, random=os.urandom)
        run = runs.start(author="ann").run
        for size in range(3):
            runs.keep_files(run, [("animals:v1", "cat", size)])
            runs.use(run, f"animals:v{size}")
        assert check_repository(repository).damage == ()
        missing = sorted(key for key in repository.store.iter_keys("runs/") if key.endswith(("2", "files-1")))
        assert len(missing) == 3
        repository.store.delete(missing)
        assert [damage.key for damage in check_repository(repository).damage] == missing
