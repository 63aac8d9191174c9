"""A union whose process is killed at any step shows, when it is served again, what was there before or after."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable

import pytest

from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.vfs.union.union import Caller, Union
from tests.staging.crashing import each_crash
from tests.staging.union_support import serve

ME = Caller(os.getpid(), os.geteuid(), os.getegid())
Tree = dict[bytes, object]


def prepare(union: Union) -> None:
    """Give it some of everything: new, changed, removed, renamed, opaque."""
    handle = union.create(b"upper", 0o644, os.O_WRONLY, ME)
    union.write(handle, b"upper", offset=0)
    union.release(handle)
    union.make_directory(b"upper.d", 0o755, ME)
    union.release(union.create(b"upper.d/x", 0o644, os.O_WRONLY, ME))
    union.make_directory(b"void", 0o755, ME)
    union.unlink(b"empty")
    union.unlink(b"images/deep/er/x")
    union.rename(b"images/none", b"renamed")


ACTIONS: dict[str, Callable[[Union], object]] = {
    "copy up": lambda union: union.release(union.open(b"images/cat", os.O_RDWR, ME)),
    "chmod": lambda union: union.chmod(b"images/cat", 0o600),
    "chmod of a directory": lambda union: union.chmod(b"images/deep/er", 0o700),
    "create": lambda union: union.release(union.create(b"images/new", 0o644, os.O_WRONLY, ME)),
    "create over whiteout": lambda union: union.release(union.create(b"empty", 0o644, os.O_WRONLY, ME)),
    "mkdir": lambda union: union.make_directory(b"images/new", 0o755, ME),
    "mkdir over whiteout": lambda union: union.make_directory(b"empty", 0o755, ME),
    "symlink": lambda union: union.make_symlink(b"empty", b"target", ME),
    "link": lambda union: union.link(b"images/cat", b"images/deep/cat"),
    "unlink": lambda union: union.unlink(b"images/dog"),
    "unlink of a new file": lambda union: union.unlink(b"upper"),
    "rmdir": lambda union: union.rmdir(b"void"),
    "rmdir of the version": lambda union: union.rmdir(b"images/deep/er"),
    "rename": lambda union: union.rename(b"upper", b"images/upper"),
    "rename over": lambda union: union.rename(b"upper", b"images/dog"),
    "rename of the version": lambda union: union.rename(b"images/cat", b"tom"),
    "rename of the version over": lambda union: union.rename(b"images/cat", b"images/dog"),
    "rename directory": lambda union: union.rename(b"images", b"pictures"),
    "rename redirected": lambda union: union.rename(b"renamed", b"images/deep/none"),
    "rename new directory": lambda union: union.rename(b"upper.d", b"images/new"),
    "rename directory over void": lambda union: union.rename(b"images", b"void"),
    "rename new directory over void": lambda union: union.rename(b"upper.d", b"void"),
    "rename directory over the version's": lambda union: union.rename(b"upper.d", b"images/deep/er"),
    "rename directory over whiteout": lambda union: union.rename(b"images/deep", b"empty"),
    "attribute": lambda union: union.set_xattr(b"images/cat", b"user.x", b"y", 0),
}
# A directory that moves over an empty one is two steps: in between the empty one is gone.
VANISHING = {
    "rename directory over void": b"void",
    "rename new directory over void": b"void",
    "rename directory over the version's": b"images/deep/er",
}
# These make what is empty and private at first, and then give it its permission bits.
MAKING = {
    "create": b"images/new",
    "create over whiteout": b"empty",
    "mkdir": b"images/new",
    "mkdir over whiteout": b"empty",
}


def show(union: Union, path: bytes = b"") -> Tree:
    found: Tree = {}
    for name, _, kind in union.read_directory(path):
        below = path + b"/" + name if path else name
        attributes = union.getattr(below)
        if stat.S_ISDIR(kind):
            found[below] = attributes.mode
            found |= show(union, below)
        elif stat.S_ISLNK(kind):
            found[below] = union.readlink(below)
        else:
            handle = union.open(below, os.O_RDONLY, ME)
            found[below] = attributes.mode, union.read(handle, offset=0, size=1 << 20)
            union.release(handle)
    return found


def without(tree: Tree, path: bytes) -> Tree:
    return {name: what for name, what in tree.items() if name != path}


@pytest.mark.parametrize("what", ACTIONS)
def test_every_change_is_whole_or_not_at_all(
    repository: Repository, area: StagingArea, staging: Staging, what: str
) -> None:
    with serve(repository, staging) as union:
        prepare(union)
        before = show(union)
    saved = staging.upper + b".saved"
    os.rename(staging.upper, saved)
    copy(saved, staging.upper)
    with serve(repository, staging) as union:
        ACTIONS[what](union)
        after = show(union)
    allowed = [before, after]
    if what in VANISHING:
        allowed.append(without(before, VANISHING[what]))
    crashes = 0
    copy(saved, staging.upper)
    with_union: list[Union] = []

    def act() -> None:
        ACTIONS[what](with_union[0])

    stack = serve(repository, staging)
    with_union.append(stack.__enter__())
    for _ in each_crash(act):
        stack.__exit__(None, None, None)
        crashes += 1
        with serve(repository, staging) as union:
            found = show(union)
            if what in MAKING:
                found = without(found, MAKING[what]) if found not in allowed else found
            assert found in allowed
            assert os.listdir(staging.layout.work) == []
        area.changes(staging)
        copy(saved, staging.upper)
        stack = serve(repository, staging)
        with_union[0] = stack.__enter__()
    assert show(with_union[0]) == after
    stack.__exit__(None, None, None)
    assert crashes >= 1


def copy(source: bytes, target: bytes) -> None:
    """Copy an upper directory with its marks."""
    shutil.rmtree(target, ignore_errors=True)
    os.mkdir(target)
    for name in os.listdir(source):
        copy_one(source + b"/" + name, target + b"/" + name)
    shutil.copystat(source, target)


def copy_one(source: bytes, target: bytes) -> None:
    status = os.lstat(source)
    if stat.S_ISDIR(status.st_mode):
        copy(source, target)
    elif stat.S_ISCHR(status.st_mode):
        os.mknod(target, stat.S_IFCHR, 0)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    else:
        shutil.copy2(source, target)
