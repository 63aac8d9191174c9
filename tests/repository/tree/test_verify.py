"""Verify lists everything that is wrong, and nothing else."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import cast

import pytest

from artifactfs.blobstore.keys import sums_key
from artifactfs.errors import SourceNotFoundError
from artifactfs.model import ReferenceEntry, Root, Validator
from artifactfs.reference.references import References
from artifactfs.repository.checkout import checkout
from artifactfs.repository.put import put_plan
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.sources import Planned, Source, add_entry, add_source
from artifactfs.repository.trees import Trees
from artifactfs.repository.verify import verify_version
from artifactfs.testing.repositories import find_stored
from tests.repository.tree.conftest import Recorder, damage, entry, put


@pytest.fixture
def root(repository: Repository, work: Path) -> Root:
    source = work / "s"
    (source / "d" / "empty").mkdir(parents=True)
    (source / "d" / "f").write_text("content of f")
    (source / "d" / "same").write_text("content of f")
    (source / "g").write_text("content of g")
    (source / ".artifactignore").write_text("*.never\n")
    (source / "big").write_bytes(os.urandom(5 << 20))
    os.symlink("g", source / "link")
    return put(repository, f"{source}/").version.root


def object_path(repository: Repository, key: str) -> Path:
    path = Path(repository.location, key)
    os.chmod(path, 0o644)
    return path


def problems(repository: Repository, root: Root, directory: Path | None = None) -> list[tuple[bytes, str]]:
    found = verify_version(repository, root, directory=None if directory is None else os.fsencode(directory))
    return [(problem.path, problem.what) for problem in found]


def test_nothing_is_wrong(repository: Repository, work: Path, root: Root) -> None:
    assert problems(repository, root) == []
    assert problems(repository, root, work / "s") == []
    told = Recorder()
    verify_version(repository, root, progress=told)
    assert told.totals == (told.files, told.size) == (root.count, root.size)
    told = Recorder()
    verify_version(repository, root, directory=os.fsencode(work / "s"), progress=told)
    assert told.files == root.count


def test_every_damage_is_listed(repository: Repository, root: Root, work: Path) -> None:
    damage(repository, root, b"d/f")  # `same` has the same blob
    gone = Trees(repository.blobs).find_entry(root, b"big")
    find_stored(repository, root, b"big").file.unlink()
    found = problems(repository, root)
    assert [path for path, _ in found] == [b"big", b"d/f", b"d/same"]
    assert gone.digest.hex in found[0][1]  # type: ignore[union-attr]
    assert "damaged" in found[1][1]
    assert "damaged" in found[2][1]


def test_a_missing_pack_is_listed_with_every_file_in_it(repository: Repository, root: Root) -> None:
    find_stored(repository, root, b"g").file.unlink()
    assert [path for path, _ in problems(repository, root)] == [b".artifactignore", b"d/f", b"d/same", b"g"]


def test_what_was_verified_earlier_is_not_believed(repository: Repository, root: Root) -> None:
    stored = find_stored(repository, root, b"g")
    status = stored.file.stat()
    stored.damage()
    os.utime(stored.file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [path for path, _ in problems(repository, root)] == [b"g"]


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_tree_is_listed_and_the_rest_is_still_checked(repository: Repository, root: Root, how: str) -> None:
    stored = find_stored(repository, root, b"d")
    if how == "flip":
        damage(repository, root, b"g")
        stored.damage()
        assert [path for path, _ in problems(repository, root)] == [b"d", b"g"]
        return
    # The tree pack ends with the root: without that, nothing can be said of what is below.
    stored.file.chmod(0o644)
    if how == "gone":
        stored.file.unlink()
    else:
        os.truncate(stored.file, stored.offset + stored.size)
    assert [path for path, _ in problems(repository, root)] == [b""]


def test_damaged_sums_are_listed(repository: Repository, root: Root, work: Path) -> None:
    (work / "s" / "g").unlink()
    result = put(repository, work / "s")
    big = entry(repository, result, b"s/big")
    assert big.sums is not None
    path = object_path(repository, sums_key(big.sums))
    path.write_bytes(b"\0" * len(path.read_bytes()))
    assert [(path, "sums" in what) for path, what in problems(repository, root)] == [(b"big", True)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: (d / "g").unlink(), [(b"g", "is missing")]),
        (lambda d: shutil.rmtree(d / "d" / "empty"), [(b"d/empty", "is missing")]),
        (lambda d: (d / "new").write_text("x"), [(b"new", "is not in the version")]),
        (lambda d: (d / "x.never").write_text("x"), [(b"x.never", "is not in the version")]),
        (lambda d: (d / "g").write_text("CONTENT OF G"), [(b"g", "has other content")]),
        (lambda d: (d / "g").write_text("short"), [(b"g", "has 5 bytes, not 12")]),
        (lambda d: os.chmod(d / "g", 0o600), [(b"g", "has the permission bits 600, not 644")]),
        (lambda d: os.chmod(d / "d", 0o700), [(b"d", "has the permission bits 700, not 755")]),
        (lambda d: os.chmod(d, 0o700), [(b"", "has the permission bits 700, not 755")]),
        (lambda d: ((d / "g").unlink(), (d / "g").mkdir()), [(b"g", "is a directory, not a file")]),
        (lambda d: ((d / "link").unlink(), os.symlink("x", d / "link")), [(b"link", "points elsewhere")]),
        (lambda d: ((d / "g").unlink(), os.symlink("x", d / "g")), [(b"g", "is a link, not a file")]),
        (lambda d: os.mkfifo(d / "p"), [(b"p", "is not in the version: it is a socket, FIFO or device")]),
        (lambda d: os.utime(d / "g", ns=(0, 0)), []),
    ],
)
def test_a_local_copy_is_compared(
    repository: Repository, work: Path, root: Root, change: object, expected: list[tuple[bytes, str]]
) -> None:
    checkout(repository, root, os.fsencode(work / "t"))
    change(work / "t")  # type: ignore[operator]
    assert problems(repository, root, work / "t") == expected
    os.symlink("t", work / "way")
    assert problems(repository, root, work / "way") == expected


def test_a_missing_directory(repository: Repository, work: Path, root: Root) -> None:
    with pytest.raises(SourceNotFoundError):
        problems(repository, root, work / "missing")


class Crowd:
    """Answers questions about references only when several are asked at the same time; `b` has changed."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(4, timeout=30)

    def find_drift(self, asked: ReferenceEntry) -> str | None:
        self._barrier.wait()
        return "is another one" if asked.uri.endswith("/b") else None

    def close(self) -> None:
        """Do nothing."""


def test_references_are_asked_for_many_at_once_and_listed_in_order(work: Path) -> None:
    with open_repository(
        str(work / "r"), state=str(work / "state"), author="t", references=lambda: cast("References", Crowd())
    ) as repository:
        plan = Planned()
        for name in (b"a", b"c"):
            (work / os.fsdecode(name)).write_bytes(name)
            add_source(plan, Source(bytes(work / os.fsdecode(name)), name))
        for name in (b"b", b"d", b"e", b"f"):
            validator = Validator("none" if name == b"d" else "etag", '"x"')
            uri = f"s3://bucket/{name.decode()}"
            add_entry(plan, name, ReferenceEntry(name, 0o644, 0, 1, uri, validator, bytes(32), has_sha256=False))
        root = put_plan(repository, "animals", plan).version.root
        for name in (b"a", b"c"):
            damage(repository, root, name)
        doubts: list[bytes] = []
        found = verify_version(repository, root, doubt=lambda path, _: doubts.append(path))
    assert [problem.path for problem in found] == [b"a", b"b", b"c"]
    assert found[1].what == "is another one"
    assert doubts == [b"d"]
