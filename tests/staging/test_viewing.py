"""A staging directory is listed and read by the same calls as a version."""

from __future__ import annotations

import os
from contextlib import closing

import pytest
from msgspec import structs

from artifactfs.errors import AlreadyExistsError, EntryNotFoundError, StagingNotFoundError, UsageError
from artifactfs.paths import parse_ref
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.repository.viewing import Viewed, view
from artifactfs.vfs.union.union import Caller, Union
from tests.staging.union_support import serve

ME = Caller(os.getpid(), os.geteuid(), os.getegid())


def write(union: Union, path: bytes, data: bytes) -> None:
    handle = union.create(path, 0o644, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, ME)
    union.write(handle, data, offset=0)
    union.release(handle)


def replace(union: Union, path: bytes, data: bytes) -> None:
    union.unlink(path)
    write(union, path, data)


def read(viewed: Viewed, path: bytes) -> bytes:
    with closing(viewed.open_file(path)) as file:
        return file.read_at(0, 100)


def names(viewed: Viewed, path: bytes = b"") -> list[bytes]:
    return [found for found, _ in viewed.trees.iter_tree(viewed.root, path)]


@pytest.fixture
def changed(repository: Repository, staging: Staging) -> Staging:
    with serve(repository, staging) as union:
        write(union, b"new", b"written here")
        union.rename(b"images", b"pictures")
        replace(union, b"pictures/cat", b"another cat")
        union.unlink(b"a.txt")
        union.make_directory(b"empty-one", 0o755, ME)
    return staging


def test_what_was_written_and_what_is_below_show_together(repository: Repository, changed: Staging) -> None:
    viewed = view(repository, parse_ref(str(changed)))
    assert viewed.ref == "animals:@staging"
    top = [name for name in names(viewed) if b"/" not in name]
    assert top == [b"empty", b"empty-one", b"link", b"new", b"pictures"]
    assert b"pictures/deep/er/x" in names(viewed)
    assert read(viewed, b"new") == b"written here"
    assert read(viewed, b"pictures/cat") == b"another cat"
    base = view(repository, parse_ref("animals:v0"))
    assert read(viewed, b"pictures/deep/er/x") == read(base, b"images/deep/er/x")
    assert viewed.root.count == base.root.count  # one more, one less


def test_it_is_what_a_commit_makes(repository: Repository, area: StagingArea, changed: Staging) -> None:
    viewed = view(repository, parse_ref(str(changed)))
    committed = area.commit(changed).result.version.root
    assert structs.replace(committed, placement=None) == viewed.root, "only where it lies is not known before"


@pytest.mark.parametrize(
    ("path", "error"), [(b"a.txt", EntryNotFoundError), (b"pictures", UsageError), (b"link", UsageError)]
)
def test_what_is_no_file_is_refused(repository: Repository, changed: Staging, path: bytes, error: type) -> None:
    with pytest.raises(error):
        view(repository, parse_ref(str(changed))).open_file(path)


def test_a_link_that_was_put_in_place_of_a_directory_is_not_followed(repository: Repository, staging: Staging) -> None:
    with serve(repository, staging) as union:
        union.rename(b"images", b"pictures")
        union.make_symlink(b"images", b"/etc", ME)
    with pytest.raises(EntryNotFoundError):
        view(repository, parse_ref(str(staging))).open_file(b"images/passwd")


def test_one_that_does_not_exist_is_said(repository: Repository) -> None:
    with pytest.raises(StagingNotFoundError):
        view(repository, parse_ref("animals:@nowhere"))


def test_the_name_of_one_that_is_served_is_taken(repository: Repository, area: StagingArea, staging: Staging) -> None:
    with serve(repository, staging), pytest.raises(AlreadyExistsError):
        area.create("animals", version=None)
