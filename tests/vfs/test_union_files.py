"""Files of a union: when they are copied up and how, what open files go on showing, what a write or fsync does."""

from __future__ import annotations

import errno
import os
import stat
import threading

import pytest

from artifactfs.repository.lower import Lower
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging
from artifactfs.testing.repositories import TIME_NS
from artifactfs.vfs.union.union import Caller, Union
from tests.staging.union_support import FILES, outcome, serve

CAT = FILES[b"images"][b"cat"]


def in_upper(staging: Staging) -> list[bytes]:
    """Return what is in the upper directory."""
    top = staging.upper
    return sorted(
        os.path.relpath(os.path.join(where, name), top)
        for where, below, names in os.walk(top)
        for name in below + names
    )


def read(union: Union, path: bytes, me: Caller) -> bytes:
    handle = union.open(path, os.O_RDONLY, me)
    try:
        return union.read(handle, offset=0, size=1 << 20)
    finally:
        union.release(handle)


def write(union: Union, path: bytes, data: bytes, me: Caller, *, offset: int = 0) -> None:
    handle = union.open(path, os.O_RDWR, me)
    try:
        assert union.write(handle, data, offset=offset) == len(data)
    finally:
        union.release(handle)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the names of the version's files whose content is opened from now on."""
    names: list[bytes] = []
    real = Lower.open_file

    def opening(self: Lower, entry, place=None):
        names.append(entry.name)
        return real(self, entry, place)

    monkeypatch.setattr(Lower, "open_file", opening)
    return names


def test_looking_and_reading_copies_nothing(union: Union, staging: Staging, me: Caller) -> None:
    assert read(union, b"images/cat", me) == CAT
    assert union.readlink(b"link") == b"a.txt"
    assert union.read_directory(b"images/deep")
    assert union.list_xattrs(b"images") == []
    assert outcome(lambda: union.get_xattr(b"a.txt", b"security.capability")) == errno.ENODATA
    union.chown(b"a.txt", os.geteuid(), os.getegid())
    union.chown(b"images", -1, os.getegid())
    union.set_times(b"a.txt", None, None)
    assert in_upper(staging) == []


def test_opening_for_writing_copies_once_with_mode_and_times(
    union: Union, staging: Staging, me: Caller, opened: list[bytes]
) -> None:
    before = union.getattr(b"images/cat"), union.getattr(b"images"), union.getattr(b"")
    for _ in range(2):
        union.release(union.open(b"images/cat", os.O_RDWR, me))
    assert opened == [b"cat"]
    assert in_upper(staging) == [b"images", b"images/cat"]
    after = union.getattr(b"images/cat"), union.getattr(b"images"), union.getattr(b"")
    for old, new in zip(before, after, strict=True):
        assert (new.node, new.mode, new.mtime_ns) == (old.node, old.mode, old.mtime_ns)
    assert read(union, b"images/cat", me) == CAT
    assert os.listdir(staging.layout.work) == []


@pytest.mark.parametrize("how", ["open", "truncate"])
def test_what_is_cut_to_nothing_is_not_copied(union: Union, me: Caller, opened: list[bytes], how: str) -> None:
    if how == "open":
        union.release(union.open(b"images/cat", os.O_WRONLY | os.O_TRUNC, me))
    else:
        union.truncate(b"images/cat", 0)
    assert opened == []
    found = union.getattr(b"images/cat")
    assert (found.size, stat.S_IMODE(found.mode)) == (0, 0o644)


def test_a_copy_is_durable_before_its_name_hides_the_original(
    union: Union, me: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("fdatasync", "rename"):
        real = getattr(os, name)

        def noting(*args, name=name, real=real):
            done.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, noting)
    union.release(union.open(b"a.txt", os.O_RDWR, me))
    assert done == ["fdatasync", "rename"]


def test_a_copy_that_fails_leaves_the_original_and_nothing_else(
    union: Union, staging: Staging, me: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", full)
        assert outcome(lambda: union.open(b"images/cat", os.O_RDWR, me)) == errno.ENOSPC
    assert os.listdir(staging.layout.work) == []
    assert in_upper(staging) == []
    assert read(union, b"images/cat", me) == CAT
    write(union, b"images/cat", b"M", me)
    assert read(union, b"images/cat", me) == b"M" + CAT[1:]


def test_who_reads_a_file_follows_its_copy(union: Union, me: Caller) -> None:
    handle = union.open(b"a.txt", os.O_RDONLY, me)
    node = union.getattr(b"a.txt", handle).node
    write(union, b"a.txt", b"more", me, offset=6)
    assert union.read(handle, offset=0, size=100) == b"alpha\nmore"
    assert (union.getattr(b"a.txt", handle).size, union.getattr(b"a.txt", handle).node) == (10, node)
    union.release(handle)


def test_who_opens_a_file_while_it_is_copied_follows_the_copy(
    union: Union, me: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking at a name and opening its content there is time for a copy to come up."""
    real = Lower.open_file
    inside = threading.Event()

    def opening(self: Lower, entry, place=None):
        if not inside.is_set():
            inside.set()
            write(union, b"a.txt", b"omega", me)
        return real(self, entry, place)

    monkeypatch.setattr(Lower, "open_file", opening)
    handle = union.open(b"a.txt", os.O_RDONLY, me)
    assert union.read(handle, offset=0, size=100) == b"omega\n"
    union.release(handle)


@pytest.mark.parametrize("path", [b"a.txt", b"new"])
def test_an_open_file_goes_on_without_its_name(union: Union, me: Caller, path: bytes) -> None:
    handle = union.create(path, 0o640, os.O_RDWR, me)
    union.write(handle, b"before", offset=0)
    union.unlink(path)
    assert outcome(lambda: union.getattr(path)) == errno.ENOENT
    union.write(handle, b"after!", offset=6)
    assert union.read(handle, offset=0, size=100) == b"beforeafter!"
    assert (union.getattr(path, handle).size, union.getattr(path, handle).nlink) == (12, 0)
    union.truncate(path, 3, handle)
    union.fsync(handle, data_only=False)
    assert union.read(handle, offset=0, size=100) == b"bef"
    union.release(handle)


def test_a_file_of_the_version_stays_readable_without_its_name(union: Union, me: Caller) -> None:
    handle = union.open(b"images/cat", os.O_RDONLY, me)
    union.unlink(b"images/cat")
    union.release(union.create(b"images/cat", 0o644, os.O_WRONLY, me))
    assert union.read(handle, offset=0, size=4) == b"meow"
    assert union.getattr(b"images/cat", handle).size == 4000
    union.release(handle)


def test_writing_past_the_end_leaves_a_hole(union: Union, staging: Staging, me: Caller) -> None:
    write(union, b"empty", b"end", me, offset=1 << 30)
    assert union.getattr(b"empty").size == (1 << 30) + 3
    assert union.getattr(b"empty").blocks < 100
    handle = union.open(b"empty", os.O_RDONLY, me)
    assert union.read(handle, offset=5, size=3) == b"\0\0\0"
    union.release(handle)


def test_a_disk_that_fills_during_a_write_tells_how_much_was_written(
    union: Union, me: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    handle = union.create(b"new", 0o644, os.O_WRONLY, me)

    def filling(descriptor: int, data: bytes, offset: int) -> int:
        if offset >= 4:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data[:4], offset)

    monkeypatch.setattr(os, "pwrite", filling)
    assert union.write(handle, b"abcdefgh", offset=0) == 4
    assert outcome(lambda: union.write(handle, b"efgh", offset=4)) == errno.ENOSPC
    union.release(handle)


def test_fsync_reaches_the_disk(union: Union, me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = union.create(b"new", 0o644, os.O_WRONLY, me)
    union.make_directory(b"directory", 0o755, me)
    synced: list[str] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(
            os, name, lambda descriptor, name=name: synced.append(f"{name} {os.fstat(descriptor).st_ino}")
        )
    union.fsync(handle, data_only=False)
    union.fsync(handle, data_only=True)
    union.fsync_directory(b"directory")
    nodes = union.getattr(b"new").node, union.getattr(b"directory").node
    assert synced == [f"fsync {nodes[0]}", f"fdatasync {nodes[0]}", f"fsync {nodes[1]}"]
    union.fsync_directory(b"images")
    assert len(synced) == 3, "nothing of this one is in the upper directory"
    union.release(handle)


def test_a_long_copy_stops_no_other_file(
    union: Union, me: Caller, monkeypatch: pytest.MonkeyPatch, opened: list[bytes]
) -> None:
    real = Lower.open_file
    copying, go_on = threading.Event(), threading.Event()

    def opening(self: Lower, entry, place=None):
        if entry.name == b"cat":
            copying.set()
            assert go_on.wait(20)
        return real(self, entry, place)

    monkeypatch.setattr(Lower, "open_file", opening)
    threads = [threading.Thread(target=write, args=(union, b"images/cat", b"M", me)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert copying.wait(20)
    write(union, b"a.txt", b"A", me)
    write(union, b"images/dog", b"W", me)
    union.rename(b"empty", b"full")
    union.make_directory(b"images/new", 0o755, me)
    assert b"dog" in [name for name, *_ in union.read_directory(b"images")]
    assert union.getattr(b"images/cat").size == 4000
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert read(union, b"images/cat", me) == b"M" + CAT[1:]
    assert opened.count(b"cat") == 1, "two writers, one copy"


def test_what_is_removed_while_it_is_copied_stays_removed(
    union: Union, staging: Staging, me: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Lower.open_file

    def opening(self: Lower, entry, place=None):
        union.unlink(b"images/cat")
        return real(self, entry, place)

    monkeypatch.setattr(Lower, "open_file", opening)
    assert outcome(lambda: union.open(b"images/cat", os.O_RDWR, me)) == errno.ENOENT
    assert os.listdir(staging.layout.work) == []


def test_modes_of_every_kind_are_kept(union: Union, me: Caller) -> None:
    for mode in (0o000, 0o200, 0o444, 0o4755, 0o2755, 0o1777):
        name = b"%o" % mode
        union.release(union.create(name, mode, os.O_RDWR, me))
        union.make_directory(name + b".d", mode, me)
        for path in (name, name + b".d"):
            assert stat.S_IMODE(union.getattr(path).mode) == mode
        union.chmod(b"a.txt", mode)
        assert stat.S_IMODE(union.getattr(b"a.txt").mode) == mode


def test_changing_times_and_modes_touches_nothing_else(union: Union, me: Caller) -> None:
    union.set_times(b"images/cat", 123_456_789_012, None)
    found = union.getattr(b"images/cat")
    assert (found.atime_ns, found.mtime_ns) == (123_456_789_012, TIME_NS)
    union.set_times(b"images/cat", None, 5)
    found = union.getattr(b"images/cat")
    assert (found.atime_ns, found.mtime_ns) == (123_456_789_012, 5)
    union.chmod(b"images/cat", 0o600)
    assert union.getattr(b"images/cat").mtime_ns == 5
    union.set_times(b"link", 7, 8)
    assert (union.getattr(b"link").mtime_ns, union.getattr(b"a.txt").mtime_ns) == (8, TIME_NS)
    assert outcome(lambda: union.chmod(b"link", 0o600)) == errno.EOPNOTSUPP
    assert union.getattr(b"images").mtime_ns == TIME_NS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_is_made_belongs_to_who_asked_and_to_the_group_of_a_setgid_directory(union: Union, me: Caller) -> None:
    other = Caller(1, 12345, 23456)
    union.release(union.create(b"file", 0o4755, os.O_WRONLY, other))
    union.make_directory(b"directory", 0o2755, other)
    union.make_symlink(b"symlink", b"x", other)
    for path in (b"file", b"directory", b"symlink"):
        assert (union.getattr(path).uid, union.getattr(path).gid) == (12345, 23456)
    assert stat.S_IMODE(union.getattr(b"file").mode) == 0o4755, "giving it away must not cost the bit"
    union.release(union.create(b"directory/file", 0o644, os.O_WRONLY, me))
    union.unlink(b"directory/file")
    union.make_directory(b"directory/below", 0o755, me)
    assert union.getattr(b"directory/below").gid == 23456
    assert stat.S_IMODE(union.getattr(b"directory/below").mode) == 0o2755
    union.unlink(b"empty")
    union.chown(b"images", -1, 23456)
    union.chmod(b"images", 0o2755)
    union.unlink(b"images/dog")
    union.release(union.create(b"images/dog", 0o644, os.O_WRONLY, me))
    assert union.getattr(b"images/dog").gid == 23456, "also over a whiteout"


def test_extended_attributes(union: Union, me: Caller) -> None:
    union.set_xattr(b"images/cat", b"user.note", b"good", os.XATTR_CREATE)
    union.set_xattr(b"images", b"user.more", b"", 0)
    assert union.list_xattrs(b"images/cat") == [b"user.note"]
    assert union.get_xattr(b"images/cat", b"user.note") == b"good"
    assert union.list_xattrs(b"images") == [b"user.more"]
    union.remove_xattr(b"images/cat", b"user.note")
    assert union.list_xattrs(b"images/cat") == []
    assert read(union, b"images/cat", me) == CAT


def test_statfs_is_that_of_the_upper_disk(union: Union, staging: Staging) -> None:
    found, expected = union.statfs(), os.statvfs(staging.upper)
    assert (found.f_blocks, found.f_bsize, found.f_files) == (expected.f_blocks, expected.f_bsize, expected.f_files)


def test_it_shows_the_same_when_it_is_served_again(repository: Repository, staging: Staging, me: Caller) -> None:
    with serve(repository, staging) as union:
        write(union, b"a.txt", b"A", me)
        union.release(union.create(b"new", 0o600, os.O_WRONLY, me))
        left_open = union.open(b"new", os.O_RDWR, me)
        union.write(left_open, b"kept", offset=0)
    with serve(repository, staging) as union:
        assert read(union, b"a.txt", me) == b"Alpha\n"
        assert read(union, b"new", me) == b"kept"
