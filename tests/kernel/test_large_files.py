"""What counts as mostly large files, for passthrough that nobody asked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from artifactfs.blobstore.local import LocalStore
from artifactfs.model import Root
from artifactfs.mount.kernel import large_files, serve
from artifactfs.mount.kernel.asking import find_figures
from artifactfs.mount.kernel.catalogue import Served
from artifactfs.mount.kernel.choice import Prepared, should_pass_through
from artifactfs.mount.kernel.codes import InitFlag
from artifactfs.mount.kernel.large_files import find_newest, is_mostly_large
from artifactfs.mount.kernel.negotiation import Negotiated
from artifactfs.mount.options import MountInfo
from artifactfs.mount.orders import REPOSITORY, Order
from artifactfs.mount.syscalls import may_mount
from artifactfs.repository.locked import Locked
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files

from .support import Folders, Mount

SMALL, LARGE = b"abc", b"x" * 1000


@pytest.fixture(autouse=True)
def _thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_files, "LARGE_BYTES", 1000)


def figures_of(info: MountInfo) -> dict[str, Any]:
    figures = find_figures(info)
    assert figures is not None
    return figures


def commit(repository: Repository, name: str, *, small: int, large: int, factor: int = 1) -> Root:
    files = {b"small%d" % number: SMALL for number in range(small)}
    files |= {b"large%d" % number: LARGE * factor for number in range(large)}
    return commit_files(repository, name, files).root


@pytest.mark.parametrize(
    ("small", "large", "factor", "expected"),
    [
        (0, 3, 1, True),
        (1, 3, 1, True),
        (20, 1, 400, False),  # large on average only
        (3, 3, 10, False),
        (0, 0, 1, False),
    ],
)
def test_most_files_must_be_large(
    repository: Repository, *, small: int, large: int, factor: int, expected: bool
) -> None:
    root = commit(repository, "animals", small=small, large=large, factor=factor)
    assert is_mostly_large(repository, [root]) is expected


def test_all_collections_count_by_their_newest_versions(repository: Repository) -> None:
    commit(repository, "animals", small=50, large=0)
    commit(repository, "animals", small=0, large=5)
    commit(repository, "plants", small=2, large=2)
    roots = find_newest(repository, None)
    assert [root.count for root in roots] == [5, 4]
    assert is_mostly_large(repository, roots)
    commit(repository, "stones", small=20, large=0)
    assert not is_mostly_large(repository, find_newest(repository, None))
    locked = Locked({"animals": [1]}, {})
    assert is_mostly_large(repository, find_newest(repository, locked))


def test_totals_alone_rule_out_small_files(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    root = commit(repository, "animals", small=9, large=1)
    monkeypatch.setattr(LocalStore, "read", lambda *_: pytest.fail("a tree was read"))
    assert not is_mostly_large(repository, [root])


def test_a_bounded_number_of_collections_and_entries_is_looked_at(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        root = commit(repository, f"set{number}", small=0, large=4)
    monkeypatch.setattr(large_files, "COLLECTIONS", 3)
    assert len(find_newest(repository, None)) == 3
    monkeypatch.setattr(large_files, "ENTRIES", 2)
    assert is_mostly_large(repository, [root])


@pytest.mark.mounted
@pytest.mark.skipif(not may_mount(), reason="passthrough needs CAP_SYS_ADMIN")
def test_a_repository_of_large_files_is_passed_through(mount: Mount, repository: Repository, tmp_path: Path) -> None:
    commit_files(repository, "animals", {b"a": bytes(17 << 20)})
    asked = find_figures(mount(passthrough=True))
    assert asked is not None
    if not asked["passthrough"]:
        pytest.skip("not on this machine")
    for artifact in (None, "animals:v0"):
        figures = find_figures(mount(artifact=artifact))
        assert figures is not None
        assert figures["passthrough"]
    commit_files(repository, "animals", {b"a": bytes(400 << 20), **{b"%d" % number: SMALL for number in range(20)}})
    figures = find_figures(mount(artifact="animals:v1"))
    assert figures is not None
    assert not figures["passthrough"]


@pytest.mark.mounted
@pytest.mark.skipif(not may_mount() or os.getuid() != 0, reason="binding a directory needs root")
def test_a_repository_that_cannot_be_written_to_is_passed_through(
    mount: Mount, repository: Repository, folders: Folders
) -> None:
    content = os.urandom(17 << 20)
    commit_files(repository, "animals", {b"a": content})
    if not figures_of(mount(passthrough=True))["passthrough"]:
        pytest.skip("not on this machine")
    place = folders.repository
    subprocess.run(["mount", "--bind", place, place], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        for artifact in (None, "animals:latest"):
            info = mount(artifact=artifact)
            assert figures_of(info)["passthrough"]
            path = Path(info.mountpoint) / ("a" if artifact else "animals/v0/a")
            assert path.read_bytes() == content
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_nothing_in_an_object_store_is_passed_through(caplog: pytest.LogCaptureFixture) -> None:
    order = Order(REPOSITORY, "/mnt", "s3://bucket/a", "", "", "", passthrough=True)
    prepared = Prepared(Served("s3://bucket/a", "", 0, 0), "", "s3://bucket/a", "", is_mostly_large=True)
    assert not should_pass_through(order, prepared)
    assert "passthrough does nothing" in caplog.text


def test_what_is_tried_is_there_or_nothing_is_passed_through(repository: Repository, tmp_path: Path) -> None:
    with serve._open_probe(repository.location) as file:
        assert Path(file.name).parent == Path(repository.location) / "format"
    agreed = Negotiated(45, int(InitFlag.PASSTHROUGH), 0, 0, 256)
    assert not serve._can_pass_through(-1, agreed, str(tmp_path / "nothing"))
    (tmp_path / "empty" / "format").mkdir(parents=True)
    assert not serve._can_pass_through(-1, agreed, str(tmp_path / "empty"))
