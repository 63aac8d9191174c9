"""A union served by an ordinary user: files and directories that deny things to their own owner.

The kernel checks permissions before it asks; what is allowed there must not fail here for want of root's rights. When
root runs the tests, these switch to an ordinary user in the process.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.model import FileEntry
from artifactfs.repository.commit import commit_root
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.repository.treebuilder import TreeBuilder, make_root
from artifactfs.repository.treepacks import AnyPlace
from artifactfs.staging.files import remove_tree
from artifactfs.testing.repositories import TIME_NS, make_repository
from artifactfs.vfs.union.union import Caller, Union
from tests.staging.union_support import serve

NOBODY = 65534


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """Return a directory of an ordinary user, who the process is meanwhile."""
    directory = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(directory, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            pytest.skip(f"an ordinary user cannot reach {directory}")
        yield directory
    finally:
        if is_root:
            os.seteuid(0)
            os.setegid(0)
        remove_tree(os.fsencode(directory))


@pytest.fixture
def repository(ordinary: Path) -> Iterator[Repository]:
    with make_repository(ordinary) as repository:
        yield repository


@pytest.fixture
def staging(repository: Repository) -> Staging:
    """A version with a directory that nobody may write to, and a file in it that its owner may write to."""
    with repository.blobs.begin() as batch:
        builder = TreeBuilder(batch)
        blob = batch.store_bytes(b"data")
        files = [
            FileEntry(name, mode, TIME_NS, blob.size, blob.sha256)
            for name, mode in ((b"writable", 0o644), (b"closed", 0o444))
        ]
        places: dict[bytes, AnyPlace] = {file.name: blob.place for file in files}
        below = builder.store_directory(b"below", mode=0o555, mtime_ns=TIME_NS, entries=files, places=places)
        locked = builder.store_directory(
            b"locked",
            mode=0o555,
            mtime_ns=TIME_NS,
            entries=[*files, below.entry],
            places={**places, b"below": below.place},
        )
        root = builder.store_directory(
            b"/", mode=0o755, mtime_ns=TIME_NS, entries=[locked.entry], places={b"locked": locked.place}
        )
        batch.flush()
    version = commit_root(repository, "animals", make_root(root)).version
    return StagingArea(repository).create("animals", version=version)


@pytest.fixture
def me(ordinary: Path) -> Caller:
    return Caller(os.getpid(), os.geteuid(), os.getegid())


def read(union: Union, path: bytes, me: Caller) -> bytes:
    handle = union.open(path, os.O_RDONLY, me)
    data = union.read(handle, offset=0, size=100)
    union.release(handle)
    return data


def test_a_new_file_is_writable_whatever_its_permission_bits(union: Union, me: Caller) -> None:
    for mode in (0o444, 0o000, 0o200):  # git makes its objects 0444
        name = b"%o" % mode
        handle = union.create(name, mode, os.O_RDWR, me)
        union.write(handle, b"object", offset=0)
        assert stat.S_IMODE(union.getattr(name).mode) == mode
        assert union.read(handle, offset=0, size=10) == b"object"
        union.release(handle)
        union.make_directory(name + b".d", mode, me)
        assert stat.S_IMODE(union.getattr(name + b".d").mode) == mode
    union.unlink(b"444")
    union.release(union.create(b"444", 0o444, os.O_WRONLY, me))


def test_copying_up_into_a_directory_that_may_not_be_written_to(union: Union, me: Caller) -> None:
    handle = union.open(b"locked/below/writable", os.O_RDWR, me)
    union.write(handle, b"new!", offset=0)
    union.release(handle)
    union.chmod(b"locked/closed", 0o600)
    assert read(union, b"locked/below/writable", me) == b"new!"
    for path in (b"locked", b"locked/below"):
        assert stat.S_IMODE(union.getattr(path).mode) == 0o555
        assert union.getattr(path).mtime_ns == TIME_NS


def test_renaming_and_removing_a_directory_that_may_not_be_written_to(
    repository: Repository, staging: Staging, me: Caller
) -> None:
    with serve(repository, staging) as union:
        union.rename(b"locked", b"renamed")
        assert read(union, b"renamed/below/closed", me) == b"data"
        assert stat.S_IMODE(union.getattr(b"renamed").mode) == 0o555
        union.make_directory(b"locked", 0o555, me)
        assert union.read_directory(b"locked") == []
        union.rmdir(b"locked")
        union.make_directory(b"new", 0o555, me)
        union.rmdir(b"new")
        union.chmod(b"renamed/below", 0o755)
        union.unlink(b"renamed/below/closed")
        union.unlink(b"renamed/below/writable")
        union.chmod(b"renamed/below", 0o555)
        union.chmod(b"renamed", 0o755)
        union.rmdir(b"renamed/below")
    with serve(repository, staging) as union:
        assert [name for name, *_ in union.read_directory(b"renamed")] == [b"closed", b"writable"]


def test_what_its_owner_may_not_read_is_still_there(repository: Repository, staging: Staging, me: Caller) -> None:
    with serve(repository, staging) as union:
        union.chmod(b"locked/writable", 0o000)
        union.chmod(b"locked/below", 0o311)
    with serve(repository, staging) as union:
        assert stat.S_IMODE(union.getattr(b"locked/writable").mode) == 0
        assert read(union, b"locked/below/closed", me) == b"data"
        assert [name for name, *_ in union.read_directory(b"locked")] == [b"below", b"closed", b"writable"]
        assert stat.S_IMODE(os.lstat(staging.upper + b"/locked/below").st_mode) == 0o311
        union.chmod(b"locked/writable", 0o600)
        assert read(union, b"locked/writable", me) == b"data"


def test_the_commit_keeps_these_permission_bits_and_the_end_removes_them(
    repository: Repository, staging: Staging, me: Caller
) -> None:
    area = StagingArea(repository)
    with serve(repository, staging) as union:
        union.release(union.create(b"object", 0o444, os.O_WRONLY, me))
        union.make_directory(b"full", 0o755, me)
        union.release(union.create(b"full/x", 0o444, os.O_WRONLY, me))
        union.chmod(b"full", 0o555)
        union.open(b"locked/below/writable", os.O_WRONLY, me)
    found = {change.path: change.kind for change in area.changes(staging)}
    assert found == {b"object": "added", b"full/x": "added"}
    area.commit(staging)
    done = area.get("animals")
    with serve(repository, done) as union:
        assert stat.S_IMODE(union.getattr(b"full").mode) == 0o555
    area.remove(done)
    assert not os.path.exists(staging.layout.directory)


def test_shutil_would_have_stopped(ordinary: Path) -> None:
    """Why `remove_tree` is there."""
    folder = ordinary / "tree"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").touch()
    (folder / "below").chmod(0o555)
    shutil.rmtree(folder, ignore_errors=True)
    assert (folder / "below" / "file").exists()
    remove_tree(os.fsencode(folder))
    assert not folder.exists()


def test_the_top_can_be_written_to_although_the_version_s_could_not(repository: Repository, me: Caller) -> None:
    with repository.blobs.begin() as batch:
        root = TreeBuilder(batch).store_directory(b"/", mode=0o555, mtime_ns=TIME_NS, entries=[])
        batch.flush()
    area = StagingArea(repository)
    staging = area.create("plants", version=commit_root(repository, "plants", make_root(root)).version)
    with serve(repository, staging) as union:
        assert stat.S_IMODE(union.getattr(b"").mode) == 0o755
        union.release(union.create(b"rose", 0o644, os.O_WRONLY, me))
    assert [change.path for change in area.changes(staging)] == [b"rose"]
