"""Each refusal of a union has the errno that a local disk gives: everything is tried on both."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.vfs.union.union import Caller, Union
from tests.staging.union_support import FILES, outcome, write_plain

ME = Caller(os.getpid(), os.geteuid(), os.getegid())
LONG = b"x" * 256


class Plain:
    """The union's operations on a plain directory."""

    def __init__(self, top: bytes) -> None:
        self.top = top

    def at(self, path: bytes) -> bytes:
        return self.top + b"/" + path

    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> int:
        return os.open(self.at(path), flags | os.O_CREAT | os.O_NOFOLLOW, mode)

    def open(self, path: bytes, flags: int, caller: Caller) -> int:
        return os.open(self.at(path), flags | os.O_NOFOLLOW)

    def release(self, handle: int) -> None:
        os.close(handle)

    def read(self, handle: int, *, offset: int, size: int) -> bytes:
        return os.pread(handle, size, offset)

    def write(self, handle: int, data: bytes, *, offset: int) -> int:
        return os.pwrite(handle, data, offset)

    def getattr(self, path: bytes) -> os.stat_result:
        return os.lstat(self.at(path))

    def read_directory(self, path: bytes) -> list[bytes]:
        return os.listdir(self.at(path))

    def readlink(self, path: bytes) -> bytes:
        return os.readlink(self.at(path))

    def truncate(self, path: bytes, size: int, handle: int | None = None) -> None:
        os.truncate(self.at(path) if handle is None else handle, size)

    def make_directory(self, path: bytes, mode: int, caller: Caller) -> None:
        os.mkdir(self.at(path), mode)

    def make_symlink(self, path: bytes, target: bytes, caller: Caller) -> None:
        os.symlink(target, self.at(path))

    def link(self, old: bytes, new: bytes) -> None:
        os.link(self.at(old), self.at(new), follow_symlinks=False)

    def unlink(self, path: bytes) -> None:
        os.unlink(self.at(path))

    def rmdir(self, path: bytes) -> None:
        os.rmdir(self.at(path))

    def rename(self, old: bytes, new: bytes) -> None:
        os.rename(self.at(old), self.at(new))

    def chmod(self, path: bytes, mode: int) -> None:
        os.chmod(self.at(path), mode)

    def set_times(self, path: bytes, atime_ns: int, mtime_ns: int) -> None:
        os.utime(self.at(path), ns=(atime_ns, mtime_ns), follow_symlinks=False)

    def get_xattr(self, path: bytes, name: bytes) -> bytes:
        return os.getxattr(self.at(path), name, follow_symlinks=False)

    def set_xattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        os.setxattr(self.at(path), name, value, flags, follow_symlinks=False)

    def remove_xattr(self, path: bytes, name: bytes) -> None:
        os.removexattr(self.at(path), name, follow_symlinks=False)


Both = Union | Plain
Action = Callable[[Both], object]


def write_read_only(both: Both, path: bytes) -> None:
    handle = both.open(path, os.O_RDONLY, ME)
    try:
        both.write(handle, b"x", offset=0)
    finally:
        both.release(handle)


def truncate_read_only(both: Both) -> None:
    handle = both.open(b"a.txt", os.O_RDONLY, ME)
    try:
        both.truncate(b"a.txt", 0, handle)
    finally:
        both.release(handle)


# A file of the version stands as a.txt, a link as link, a directory with things in it as images, an empty one as
# images/none; `upper` and `upper.d` are new.
REFUSED: dict[str, tuple[int, Action]] = {
    "open missing": (errno.ENOENT, lambda u: u.open(b"missing", os.O_RDONLY, ME)),
    "open missing for writing": (errno.ENOENT, lambda u: u.open(b"missing", os.O_WRONLY, ME)),
    "open below missing": (errno.ENOENT, lambda u: u.open(b"missing/x", os.O_RDONLY, ME)),
    "open below file": (errno.ENOTDIR, lambda u: u.open(b"a.txt/x", os.O_RDONLY, ME)),
    "open below new file": (errno.ENOTDIR, lambda u: u.open(b"upper/x", os.O_RDONLY, ME)),
    "open directory for writing": (errno.EISDIR, lambda u: u.open(b"images", os.O_WRONLY, ME)),
    "open new directory for writing": (errno.EISDIR, lambda u: u.open(b"upper.d", os.O_RDWR, ME)),
    "open link": (errno.ELOOP, lambda u: u.open(b"link", os.O_RDONLY, ME)),
    "open link for writing": (errno.ELOOP, lambda u: u.open(b"link", os.O_WRONLY, ME)),
    "create what is there": (errno.EEXIST, lambda u: u.create(b"a.txt", 0o644, os.O_WRONLY | os.O_EXCL, ME)),
    "create where a new file is": (errno.EEXIST, lambda u: u.create(b"upper", 0o644, os.O_WRONLY | os.O_EXCL, ME)),
    "create where a directory is": (errno.EISDIR, lambda u: u.create(b"images", 0o644, os.O_WRONLY, ME)),
    "create below missing": (errno.ENOENT, lambda u: u.create(b"missing/x", 0o644, os.O_WRONLY, ME)),
    "create below file": (errno.ENOTDIR, lambda u: u.create(b"a.txt/x", 0o644, os.O_WRONLY, ME)),
    "create long": (errno.ENAMETOOLONG, lambda u: u.create(LONG, 0o644, os.O_WRONLY, ME)),
    "create long in the version": (errno.ENAMETOOLONG, lambda u: u.create(b"images/" + LONG, 0o644, os.O_WRONLY, ME)),
    "stat missing": (errno.ENOENT, lambda u: u.getattr(b"images/missing")),
    "stat long in the version": (errno.ENAMETOOLONG, lambda u: u.getattr(b"images/" + LONG)),
    "stat below long": (errno.ENAMETOOLONG, lambda u: u.getattr(b"images/" + LONG + b"/x")),
    "list missing": (errno.ENOENT, lambda u: u.read_directory(b"missing")),
    "list file": (errno.ENOTDIR, lambda u: u.read_directory(b"a.txt")),
    "readlink of a file": (errno.EINVAL, lambda u: u.readlink(b"a.txt")),
    "readlink of a new file": (errno.EINVAL, lambda u: u.readlink(b"upper")),
    "readlink of a directory": (errno.EINVAL, lambda u: u.readlink(b"images")),
    "truncate missing": (errno.ENOENT, lambda u: u.truncate(b"missing", 0)),
    "truncate directory": (errno.EISDIR, lambda u: u.truncate(b"images", 0)),
    "mkdir there": (errno.EEXIST, lambda u: u.make_directory(b"images", 0o755, ME)),
    "mkdir over file": (errno.EEXIST, lambda u: u.make_directory(b"a.txt", 0o755, ME)),
    "mkdir over link": (errno.EEXIST, lambda u: u.make_directory(b"link", 0o755, ME)),
    "mkdir below missing": (errno.ENOENT, lambda u: u.make_directory(b"missing/x", 0o755, ME)),
    "mkdir below file": (errno.ENOTDIR, lambda u: u.make_directory(b"a.txt/x", 0o755, ME)),
    "mkdir long": (errno.ENAMETOOLONG, lambda u: u.make_directory(LONG, 0o755, ME)),
    "symlink over file": (errno.EEXIST, lambda u: u.make_symlink(b"a.txt", b"x", ME)),
    "symlink below file": (errno.ENOTDIR, lambda u: u.make_symlink(b"a.txt/x", b"x", ME)),
    "link missing": (errno.ENOENT, lambda u: u.link(b"missing", b"new")),
    "link directory": (errno.EPERM, lambda u: u.link(b"images", b"new")),
    "link over file": (errno.EEXIST, lambda u: u.link(b"a.txt", b"empty")),
    "link over itself": (errno.EEXIST, lambda u: u.link(b"a.txt", b"a.txt")),
    "link into missing": (errno.ENOENT, lambda u: u.link(b"a.txt", b"missing/x")),
    "link into file": (errno.ENOTDIR, lambda u: u.link(b"a.txt", b"empty/x")),
    "unlink missing": (errno.ENOENT, lambda u: u.unlink(b"missing")),
    "unlink directory": (errno.EISDIR, lambda u: u.unlink(b"images")),
    "unlink new directory": (errno.EISDIR, lambda u: u.unlink(b"upper.d")),
    "unlink below file": (errno.ENOTDIR, lambda u: u.unlink(b"a.txt/x")),
    "rmdir missing": (errno.ENOENT, lambda u: u.rmdir(b"missing")),
    "rmdir file": (errno.ENOTDIR, lambda u: u.rmdir(b"a.txt")),
    "rmdir full": (errno.ENOTEMPTY, lambda u: u.rmdir(b"images")),
    "rmdir new and full": (errno.ENOTEMPTY, lambda u: u.rmdir(b"upper.d")),
    "rename missing": (errno.ENOENT, lambda u: u.rename(b"missing", b"new")),
    "rename into missing": (errno.ENOENT, lambda u: u.rename(b"a.txt", b"missing/x")),
    "rename into file": (errno.ENOTDIR, lambda u: u.rename(b"a.txt", b"empty/x")),
    "rename long": (errno.ENAMETOOLONG, lambda u: u.rename(b"a.txt", LONG)),
    "rename into itself": (errno.EINVAL, lambda u: u.rename(b"images", b"images/deep/new")),
    "rename over ancestor": (errno.ENOTEMPTY, lambda u: u.rename(b"images/deep", b"images")),
    "rename file over ancestor": (errno.ENOTEMPTY, lambda u: u.rename(b"images/cat", b"images")),
    "rename over full directory": (errno.ENOTEMPTY, lambda u: u.rename(b"images/deep", b"upper.d")),
    "rename new over full directory": (errno.ENOTEMPTY, lambda u: u.rename(b"upper.d", b"images")),
    "rename directory over file": (errno.ENOTDIR, lambda u: u.rename(b"images", b"a.txt")),
    "rename directory over link": (errno.ENOTDIR, lambda u: u.rename(b"images", b"link")),
    "rename file over directory": (errno.EISDIR, lambda u: u.rename(b"a.txt", b"images/none")),
    "chmod missing": (errno.ENOENT, lambda u: u.chmod(b"missing", 0o600)),
    "utime missing": (errno.ENOENT, lambda u: u.set_times(b"missing", 0, 0)),
    "attribute missing": (errno.ENODATA, lambda u: u.get_xattr(b"a.txt", b"user.none")),
    "attribute missing on a new file": (errno.ENODATA, lambda u: u.get_xattr(b"upper", b"user.none")),
    "remove attribute missing": (errno.ENODATA, lambda u: u.remove_xattr(b"a.txt", b"user.none")),
    "replace attribute missing": (errno.ENODATA, lambda u: u.set_xattr(b"a.txt", b"user.n", b"", os.XATTR_REPLACE)),
    "create attribute there": (errno.EEXIST, lambda u: u.set_xattr(b"upper", b"user.a", b"", os.XATTR_CREATE)),
    "write to what was opened for reading": (errno.EBADF, lambda u: write_read_only(u, b"a.txt")),
    "write to a new file opened for reading": (errno.EBADF, lambda u: write_read_only(u, b"upper")),
    "truncate what was opened for reading": (errno.EINVAL, truncate_read_only),
}


def prepare(both: Both) -> None:
    both.release(both.create(b"upper", 0o644, os.O_WRONLY, ME))
    both.set_xattr(b"upper", b"user.a", b"1", 0)
    both.make_directory(b"upper.d", 0o755, ME)
    both.release(both.create(b"upper.d/x", 0o644, os.O_WRONLY, ME))


@pytest.fixture
def plain(tmp_path: Path) -> Plain:
    top = os.fsencode(tmp_path / "plain")
    os.mkdir(top)
    write_plain(top, FILES)
    return Plain(top)


def test_every_refusal_is_that_of_a_local_disk(union: Union, plain: Plain) -> None:
    prepare(union)
    prepare(plain)
    before = show(union)
    expected = {what: number for what, (number, _) in REFUSED.items()}
    assert {what: outcome(lambda action=action: action(plain)) for what, (_, action) in REFUSED.items()} == expected
    assert {what: outcome(lambda action=action: action(union)) for what, (_, action) in REFUSED.items()} == expected
    assert show(union) == before, "a refusal changes nothing"


def show(union: Union, path: bytes = b"") -> dict[bytes, object]:
    found: dict[bytes, object] = {}
    for name, _, _ in union.read_directory(path):
        below = path + b"/" + name if path else name
        attributes = union.getattr(below)
        found[below] = attributes.mode, attributes.size, attributes.nlink, attributes.mtime_ns
        if attributes.mode & 0o170000 == 0o040000:
            found |= show(union, below)
            found[below] = attributes.mode, attributes.mtime_ns
    return found


def test_what_no_commit_could_keep_is_refused(union: Union) -> None:
    for kind in (0o010000, 0o020000, 0o060000, 0o140000):
        assert outcome(lambda kind=kind: union.make_node(b"special", kind | 0o644, ME)) == errno.EPERM
    union.make_node(b"file", 0o100640, ME)
    assert union.getattr(b"file").mode == 0o100640


def test_marks_are_neither_shown_nor_set(union: Union) -> None:
    for name in (b"user.overlay.opaque", b"user.artifactfs.ino"):
        assert outcome(lambda name=name: union.set_xattr(b"a.txt", name, b"y", 0)) == errno.EPERM
        assert outcome(lambda name=name: union.get_xattr(b"a.txt", name)) == errno.ENODATA
        assert outcome(lambda name=name: union.remove_xattr(b"a.txt", name)) == errno.EPERM
    assert outcome(lambda: union.set_xattr(b"a.txt", b"trusted.x", b"y", 0)) == errno.ENOTSUP
    union.chmod(b"a.txt", 0o600)
    assert union.list_xattrs(b"a.txt") == []


def test_rename_without_replacing(union: Union) -> None:
    assert outcome(lambda: union.rename(b"a.txt", b"empty", may_replace=False)) == errno.EEXIST
    assert outcome(lambda: union.rename(b"images", b"images/none", may_replace=False)) == errno.EEXIST
    assert outcome(lambda: union.rename(b"images", b"images/new", may_replace=False)) == errno.EINVAL
    union.rename(b"a.txt", b"b.txt", may_replace=False)
    assert union.getattr(b"b.txt").size == 6


def test_the_top_stays(union: Union) -> None:
    assert outcome(lambda: union.rmdir(b"")) == errno.EBUSY
    assert outcome(lambda: union.rename(b"", b"x")) == errno.EBUSY
    assert outcome(lambda: union.make_directory(b"", 0o755, ME)) == errno.EEXIST


def test_an_unknown_handle(union: Union) -> None:
    assert outcome(lambda: union.read(99, offset=0, size=1)) == errno.EBADF
    assert outcome(lambda: union.write(99, b"x", offset=0)) == errno.EBADF
    assert outcome(lambda: union.fsync(99, data_only=False)) == errno.EBADF
    assert outcome(lambda: union.getattr(b"", 99)) == errno.EBADF
    union.release(99)
