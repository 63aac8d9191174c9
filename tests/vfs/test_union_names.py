"""Names of a union: the marks that changes leave in the upper directory, and what shows because of them."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.files import remove_tree
from artifactfs.testing.repositories import TIME_NS
from artifactfs.vfs.union.union import Caller, Union
from tests.staging.union_support import outcome, serve

DEPTH = 1500


def names(union: Union, path: bytes = b"") -> list[bytes]:
    return [name for name, *_ in union.read_directory(path)]


def make(union: Union, path: bytes, me: Caller, data: bytes = b"new") -> None:
    handle = union.create(path, 0o644, os.O_WRONLY | os.O_TRUNC, me)
    union.write(handle, data, offset=0)
    union.release(handle)


def read(union: Union, path: bytes, me: Caller) -> bytes:
    handle = union.open(path, os.O_RDONLY, me)
    data = union.read(handle, offset=0, size=1000)
    union.release(handle)
    return data


def marks(staging: Staging, path: bytes) -> object:
    """Return what overlayfs would see at a path: `whiteout`, or the attributes of a directory, or `file`."""
    local = staging.upper + b"/" + path
    status = os.lstat(local)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return "whiteout"
    if not stat.S_ISDIR(status.st_mode):
        return "file"
    return {
        name: os.getxattr(local, name) for name in os.listxattr(local) if name.startswith(("user.overlay", "trusted"))
    }


def test_removing_a_file_leaves_a_whiteout(union: Union, staging: Staging, me: Caller) -> None:
    union.unlink(b"images/dog")
    assert marks(staging, b"images/dog") == "whiteout"
    assert marks(staging, b"images") == {}
    assert names(union, b"images") == [b"cat", b"deep", b"none"]
    make(union, b"images/dog", me)
    assert marks(staging, b"images/dog") == "file"
    union.unlink(b"images/dog")
    assert marks(staging, b"images/dog") == "whiteout"


def test_removing_what_is_not_in_the_version_leaves_nothing(union: Union, staging: Staging, me: Caller) -> None:
    make(union, b"new", me)
    union.make_directory(b"directory", 0o755, me)
    union.unlink(b"new")
    union.rmdir(b"directory")
    assert os.listdir(staging.upper) == []


def test_a_directory_over_a_removed_one_is_opaque(union: Union, staging: Staging, me: Caller) -> None:
    union.unlink(b"images/deep/er/x")
    union.rmdir(b"images/deep/er")
    assert marks(staging, b"images/deep/er") == "whiteout"
    union.make_directory(b"images/deep/er", 0o755, me)
    assert marks(staging, b"images/deep/er") == {"user.overlay.opaque": b"y"}
    assert names(union, b"images/deep/er") == []
    union.make_directory(b"fresh", 0o755, me)
    assert marks(staging, b"fresh") == {}, "nothing is below it"


def test_renaming_a_directory_of_the_version_is_one_redirect(union: Union, staging: Staging, me: Caller) -> None:
    union.rename(b"images/deep", b"shallow")
    assert marks(staging, b"shallow") == {"user.overlay.redirect": b"/images/deep"}
    assert marks(staging, b"images/deep") == "whiteout"
    assert names(union, b"shallow") == [b"er"]
    assert os.listdir(staging.upper + b"/shallow") == []
    union.rename(b"shallow", b"images/again")
    assert marks(staging, b"images/again") == {"user.overlay.redirect": b"/images/deep"}
    assert not os.path.lexists(staging.upper + b"/shallow"), "nothing of the version is hidden there"
    assert read(union, b"images/again/er/x", me) == b"x"
    union.rename(b"images/again", b"images/deep")
    assert read(union, b"images/deep/er/x", me) == b"x"
    assert names(union, b"images") == [b"cat", b"deep", b"dog", b"none"]


def test_a_directory_below_a_renamed_one_follows_it(union: Union, staging: Staging, me: Caller) -> None:
    make(union, b"images/deep/new", me)
    union.rename(b"images", b"pictures")
    assert names(union, b"pictures/deep") == [b"er", b"new"]
    union.rename(b"pictures/deep/er", b"er")
    assert marks(staging, b"er") == {"user.overlay.redirect": b"/images/deep/er"}
    assert read(union, b"er/x", me) == b"x"
    assert names(union, b"pictures/deep") == [b"new"]


def test_a_new_directory_where_one_was_renamed_away(union: Union, staging: Staging, me: Caller) -> None:
    union.rename(b"images", b"pictures")
    union.make_directory(b"images", 0o755, me)
    assert marks(staging, b"images") == {"user.overlay.opaque": b"y"}
    assert names(union, b"images") == []
    assert union.getattr(b"images").node != union.getattr(b"pictures").node
    union.rename(b"images", b"pictures/none")
    assert names(union, b"pictures/none") == []


def test_a_file_becomes_a_directory_and_back(union: Union, staging: Staging, me: Caller) -> None:
    union.unlink(b"a.txt")
    union.make_directory(b"a.txt", 0o755, me)
    make(union, b"a.txt/below", me)
    assert marks(staging, b"a.txt") == {"user.overlay.opaque": b"y"}
    union.unlink(b"a.txt/below")
    union.rmdir(b"a.txt")
    make(union, b"a.txt", me, b"again")
    assert read(union, b"a.txt", me) == b"again"


def test_a_directory_moves_over_an_empty_one(union: Union, me: Caller) -> None:
    union.rename(b"images/deep", b"images/none")
    assert names(union, b"images/none") == [b"er"]
    union.make_directory(b"empty.d", 0o755, me)
    union.rename(b"images/none", b"empty.d")
    assert read(union, b"empty.d/er/x", me) == b"x"
    assert names(union, b"images") == [b"cat", b"dog"]
    union.unlink(b"images/cat")
    union.unlink(b"images/dog")
    union.rename(b"empty.d", b"images")
    assert names(union, b"images") == [b"er"], "whiteouts below an empty directory go with it"


def test_a_file_moves_over_another(union: Union, staging: Staging, me: Caller) -> None:
    union.rename(b"images/dog", b"a.txt")
    assert read(union, b"a.txt", me) == b"woof"
    assert marks(staging, b"images/dog") == "whiteout"
    union.rename(b"a.txt", b"images/dog")
    assert marks(staging, b"a.txt") == "whiteout"
    assert names(union) == [b"empty", b"images", b"link"]


def test_links_share_inode_number_and_count(union: Union, me: Caller) -> None:
    node = union.getattr(b"a.txt").node
    union.link(b"a.txt", b"images/second")
    assert {union.getattr(path).node for path in (b"a.txt", b"images/second")} == {node}
    assert {union.getattr(path).nlink for path in (b"a.txt", b"images/second")} == {2}
    make(union, b"images/second", me, b"both")
    assert read(union, b"a.txt", me) == b"both"
    union.rename(b"a.txt", b"images/second")
    assert union.getattr(b"a.txt").nlink == 2, "two names of one file: rename(2) does nothing"
    union.unlink(b"a.txt")
    assert union.getattr(b"images/second").nlink == 1
    union.link(b"link", b"second link")
    assert union.readlink(b"second link") == b"a.txt"


def test_inode_numbers_stay_when_something_is_copied_up_or_moved(union: Union, me: Caller) -> None:
    before = {path: union.getattr(path).node for path in (b"a.txt", b"images", b"images/deep", b"images/cat")}
    listed = {name: node for name, node, _ in union.read_directory(b"images")}
    assert listed[b"cat"] == before[b"images/cat"]
    for path in (b"a.txt", b"images/cat", b"images/deep"):
        union.chmod(path, 0o700)
    union.rename(b"images", b"moved")
    after = {
        path.replace(b"moved", b"images"): union.getattr(path).node
        for path in (b"a.txt", b"moved", b"moved/deep", b"moved/cat")
    }
    assert after == before
    assert len(set(before.values())) == len(before)


def test_times_of_directories_change_as_on_a_local_disk(union: Union, me: Caller) -> None:
    def changed(*paths: bytes) -> list[bool]:
        return [union.getattr(path).mtime_ns != TIME_NS for path in paths]

    union.chmod(b"images/deep/er/x", 0o600)
    union.release(union.open(b"images/deep/er/x", os.O_WRONLY, me))
    assert changed(b"", b"images", b"images/deep", b"images/deep/er", b"images/deep/er/x") == [False] * 5
    union.unlink(b"images/deep/er/x")
    assert changed(b"", b"images", b"images/deep", b"images/deep/er") == [False, False, False, True]
    union.rename(b"images/dog", b"images/none/dog")
    assert changed(b"", b"images", b"images/none", b"images/none/dog") == [False, True, True, False]


def test_a_listing_is_in_order_and_has_types(union: Union, me: Caller) -> None:
    make(union, b"b", me)
    make(union, b"\xff", me)
    union.make_directory(b"aa", 0o755, me)
    union.unlink(b"empty")
    found = union.read_directory(b"")
    assert [name for name, *_ in found] == [b"a.txt", b"aa", b"b", b"images", b"link", b"\xff"]
    assert [kind for *_, kind in found] == [
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFLNK,
        stat.S_IFREG,
    ]


def test_depth_is_limited_by_the_path_only(
    request: pytest.FixtureRequest, repository: Repository, area: StagingArea, staging: Staging, me: Caller
) -> None:
    # pytest cannot remove what is this deep, and would leave it to the next run, which cannot either.
    request.addfinalizer(lambda: remove_tree(staging.layout.directory))
    deep = b"/".join([b"d"] * DEPTH)
    with serve(repository, staging) as union:
        for depth in range(1, DEPTH + 1):
            union.make_directory(deep[: 2 * depth - 1], 0o755, me)
        make(union, deep + b"/f", me)
    with serve(repository, staging) as union:
        assert read(union, deep + b"/f", me) == b"new"
        union.rename(b"d", b"e")
        union.rename(b"e/d", b"images/none")
        assert names(union, b"e") == []
    assert area.commit(staging).result.version.root.count == 7
    area.remove(staging)
    assert not os.path.exists(staging.layout.directory)


def test_names_are_bytes(union: Union, me: Caller) -> None:
    for name in (b"\xff\xfe", b"new\nline", b" ", b"-rf", b"n" * 255):
        make(union, name, me, name)
        assert read(union, name, me) == name
        union.rename(name, name[::-1])
        union.unlink(name[::-1])
    assert names(union) == [b"a.txt", b"empty", b"images", b"link"]


def test_a_name_that_is_too_long_is_so_in_the_version_too(union: Union, staging: Staging) -> None:
    for path in (b"images/" + b"n" * 256, b"images/deep/" + b"n" * 256 + b"/x"):
        assert outcome(lambda path=path: union.getattr(path)) == errno.ENAMETOOLONG
    assert os.listdir(staging.upper) == []


def test_a_listing_survives_names_that_go_meanwhile(union: Union, me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are listed under the lock, and their inode numbers looked up after it."""
    for number in range(3):
        make(union, b"new%d" % number, me)
    real = os.getxattr
    gone: list[bytes] = []

    def racing(path, *args, **kwargs):
        if not gone:
            gone.append(b"new2")
            union.unlink(b"new2")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "getxattr", racing)
    assert b"new1" in names(union)
    assert gone
    assert outcome(lambda: union.getattr(b"new2")) is not None
