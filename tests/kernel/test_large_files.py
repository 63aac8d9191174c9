"""What counts as mostly large files, for passthrough that nobody asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifactfs.blobstore.local import LocalStore
from artifactfs.model import Root
from artifactfs.mount.kernel import large_files
from artifactfs.mount.kernel.asking import find_figures
from artifactfs.mount.kernel.large_files import find_newest, is_mostly_large
from artifactfs.mount.syscalls import may_mount
from artifactfs.repository.locked import Locked
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files

from .support import Mount

SMALL, LARGE = b"abc", b"x" * 1000


@pytest.fixture(autouse=True)
def _thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_files, "LARGE_BYTES", 1000)


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
