"""Digests of files in an upper directory are remembered exactly as long as they must be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from artifactfs.staging.hashes import SETTLED_NS, Hashes, load_hashes
from artifactfs.staging.layout import Layout

DIGEST = b"d" * 32


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path), collection="animals", name="staging")
    os.makedirs(layout.directory)
    return layout


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    return path


def remember(layout: Layout, file: Path, *, after_ns: int = SETTLED_NS + 1) -> None:
    status = file.lstat()
    hashes = load_hashes(layout, now_ns=status.st_ctime_ns + after_ns)
    hashes.add(b"file", status, sha256=DIGEST, sums=None)
    hashes.save(layout)


def is_known(hashes: Hashes, file: Path, path: bytes = b"file") -> bool:
    found = hashes.find(path, file.lstat())
    return found is not None and found.sha256 == DIGEST


def test_what_was_read_is_known(layout: Layout, file: Path) -> None:
    remember(layout, file)
    assert is_known(load_hashes(layout, now_ns=0), file)
    assert not is_known(load_hashes(layout, now_ns=0), file, b"other")


def test_a_file_that_had_just_changed_is_not_remembered(layout: Layout, file: Path) -> None:
    remember(layout, file, after_ns=SETTLED_NS)
    assert not is_known(load_hashes(layout, now_ns=0), file)


def test_any_trace_of_a_change_makes_it_unknown(layout: Layout, file: Path) -> None:
    before = file.lstat()
    remember(layout, file)
    while file.lstat().st_ctime_ns == before.st_ctime_ns:  # the clock of older kernels ticks every few milliseconds
        file.write_bytes(b"atad")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_known(load_hashes(layout, now_ns=0), file), "its change time is another"
    remember(layout, file)
    copy = file.with_name("copy")
    copy.write_bytes(b"atad")
    os.replace(copy, file)
    assert not is_known(load_hashes(layout, now_ns=0), file), "its inode is another"


def test_a_restart_of_the_machine_makes_all_unknown(layout: Layout, file: Path) -> None:
    remember(layout, file)
    assert not is_known(load_hashes(layout, now_ns=0, boot_id="another"), file)


def test_what_was_not_met_again_is_forgotten(layout: Layout, file: Path) -> None:
    remember(layout, file)
    load_hashes(layout, now_ns=0).save(layout)
    assert not is_known(load_hashes(layout, now_ns=0), file)


@pytest.mark.parametrize("damage", [b"", b"\x81", b"junk" * 100])
def test_damage_costs_time_only(layout: Layout, file: Path, damage: bytes) -> None:
    remember(layout, file)
    Path(os.fsdecode(layout.hashes)).write_bytes(damage)
    assert not is_known(load_hashes(layout, now_ns=0), file)
    remember(layout, file)
    assert is_known(load_hashes(layout, now_ns=0), file)
