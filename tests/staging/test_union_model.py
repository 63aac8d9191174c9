"""A union behaves like a plain directory, and what a commit stores is what it shows: random operations on both."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from artifactfs.repository.put import put_paths
from artifactfs.repository.sources import Source
from artifactfs.repository.staging import StagingArea
from artifactfs.staging.layout import serving
from artifactfs.testing.repositories import commit_files, make_repository
from artifactfs.vfs.union.union import Caller
from tests.staging.union_support import FILES, outcome, serve, write_plain

NAMES = [b"a.txt", b"images", b"cat", b"deep", b"er", b"new", b"link", b"\xff"]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)
contents = st.binary(max_size=20)


class UnionModel(RuleBasedStateMachine):
    """Does everything twice: in a union, and in a plain directory."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.work = tempfile.mkdtemp()
        self.stack.callback(shutil.rmtree, self.work)
        self.plain = os.fsencode(self.work) + b"/plain"
        os.mkdir(self.plain)
        write_plain(self.plain, FILES)
        self.repository = self.stack.enter_context(make_repository(self.work))
        self.area = StagingArea(self.repository)
        version = commit_files(self.repository, "animals", FILES)
        self.staging = self.area.create("animals", version=version)
        self.serving = self.stack.enter_context(ExitStack())
        self.union = self.serving.enter_context(serve(self.repository, self.staging))
        self.me = Caller(os.getpid(), os.geteuid(), os.getegid())

    def teardown(self) -> None:
        self.stack.close()

    def local(self, path: bytes) -> bytes:
        return self.plain + b"/" + path

    def goes_through_link(self, *wanted: bytes) -> bool:
        """Return whether a directory on the way is a link: a kernel follows those before it asks a file system."""
        for path in wanted:
            names = path.split(b"/")
            if any(os.path.islink(self.local(b"/".join(names[:count]))) for count in range(1, len(names))):
                return True
        return False

    def both(self, in_union, in_plain) -> None:
        assert outcome(in_union) == outcome(in_plain)

    @rule(path=paths, content=contents)
    def write(self, path: bytes, content: bytes) -> None:
        def in_union() -> None:
            handle = self.union.create(path, 0o644, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, self.me)
            self.union.write(handle, content, offset=0)
            self.union.release(handle)

        def in_plain() -> None:
            descriptor = os.open(self.local(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            os.write(descriptor, content)
            os.close(descriptor)

        if not os.path.islink(self.local(path)) and not self.goes_through_link(path):
            self.both(in_union, in_plain)

    @rule(path=paths, content=contents, offset=st.integers(0, 30))
    def overwrite(self, path: bytes, content: bytes, offset: int) -> None:
        def in_union() -> None:
            handle = self.union.open(path, os.O_WRONLY, self.me)
            self.union.write(handle, content, offset=offset)
            self.union.release(handle)

        def in_plain() -> None:
            descriptor = os.open(self.local(path), os.O_WRONLY | os.O_NOFOLLOW)
            os.pwrite(descriptor, content, offset)
            os.close(descriptor)

        if not os.path.islink(self.local(path)) and not self.goes_through_link(path):
            self.both(in_union, in_plain)

    @rule(path=paths, size=st.integers(0, 30))
    def truncate(self, path: bytes, size: int) -> None:
        if not os.path.islink(self.local(path)) and not self.goes_through_link(path):
            self.both(lambda: self.union.truncate(path, size), lambda: os.truncate(self.local(path), size))

    @rule(path=paths)
    def mkdir(self, path: bytes) -> None:
        if self.goes_through_link(path):
            return
        self.both(lambda: self.union.make_directory(path, 0o755, self.me), lambda: os.mkdir(self.local(path), 0o755))

    @rule(path=paths)
    def unlink(self, path: bytes) -> None:
        if self.goes_through_link(path):
            return
        self.both(lambda: self.union.unlink(path), lambda: os.unlink(self.local(path)))

    @rule(path=paths)
    def rmdir(self, path: bytes) -> None:
        if self.goes_through_link(path):
            return
        self.both(lambda: self.union.rmdir(path), lambda: os.rmdir(self.local(path)))

    @rule(old=paths, new=paths)
    def rename(self, old: bytes, new: bytes) -> None:
        if self.goes_through_link(old, new):
            return
        self.both(lambda: self.union.rename(old, new), lambda: os.rename(self.local(old), self.local(new)))

    @rule(old=paths, new=paths)
    def link(self, old: bytes, new: bytes) -> None:
        if self.goes_through_link(old, new):
            return
        self.both(
            lambda: self.union.link(old, new),
            lambda: os.link(self.local(old), self.local(new), follow_symlinks=False),
        )

    @rule(path=paths)
    def symlink(self, path: bytes) -> None:
        if self.goes_through_link(path):
            return
        self.both(
            lambda: self.union.make_symlink(path, b"a.txt", self.me), lambda: os.symlink(b"a.txt", self.local(path))
        )

    @rule(path=paths, mode=st.sampled_from([0o600, 0o644, 0o755]))
    def chmod(self, path: bytes, mode: int) -> None:
        if not os.path.islink(self.local(path)) and not self.goes_through_link(path):
            self.both(lambda: self.union.chmod(path, mode), lambda: os.chmod(self.local(path), mode))

    @rule()
    def serve_again(self) -> None:
        self.serving.close()
        self.union = self.serving.enter_context(serve(self.repository, self.staging))

    @rule(renew=st.booleans())
    def commit(self, renew: bool) -> None:
        self.serving.close()
        result = self.area.commit(self.staging)
        self.staging = result.staging
        plain = put_paths(self.repository, "plain", [Source(self.plain + b"/.")])
        assert result.result.version.root.content == plain.version.root.content
        assert self.area.changes(self.staging) == []
        if renew:
            with serving(self.staging.layout):
                self.staging = self.area.renew(self.staging)
            assert os.listdir(self.staging.upper) == []
            self.part_links()
        self.union = self.serving.enter_context(serve(self.repository, self.staging))

    def part_links(self) -> None:
        """Make a file of each name: a version does not keep which of them were one."""
        for where, _, names in os.walk(self.plain):
            for name in names:
                path = os.path.join(where, name)
                if os.lstat(path).st_nlink > 1:
                    shutil.copy2(path, self.plain + b".part", follow_symlinks=False)
                    os.replace(self.plain + b".part", path)

    @invariant()
    def shows_the_same(self) -> None:
        assert self.list_union(b"") == self.list_plain(b"")

    def list_union(self, path: bytes) -> dict:
        found = {}
        for name, node, kind in self.union.read_directory(path):
            below = path + b"/" + name if path else name
            attributes = self.union.getattr(below)
            assert (attributes.node, stat.S_IFMT(attributes.mode)) == (node, kind)
            if stat.S_ISDIR(kind):
                found[name] = (attributes.mode, self.list_union(below))
            elif stat.S_ISLNK(kind):
                found[name] = self.union.readlink(below)
            else:
                handle = self.union.open(below, os.O_RDONLY, self.me)
                data = self.union.read(handle, offset=0, size=1 << 20)
                assert len(data) == attributes.size == self.union.getattr(below, handle).size
                self.union.release(handle)
                found[name] = (attributes.mode, attributes.nlink, data)
        return found

    def list_plain(self, path: bytes) -> dict:
        found = {}
        for name in sorted(os.listdir(self.plain + b"/" + path)):
            below = path + b"/" + name if path else name
            status = os.lstat(self.local(below))
            if stat.S_ISDIR(status.st_mode):
                found[name] = (status.st_mode, self.list_plain(below))
            elif stat.S_ISLNK(status.st_mode):
                found[name] = os.readlink(self.local(below))
            else:
                data = Path(os.fsdecode(self.local(below))).read_bytes()
                found[name] = (status.st_mode, status.st_nlink, data)
        return found


@pytest.mark.timeout(400)
class TestUnionModel(UnionModel.TestCase):
    settings = settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestUnionModelLonger(UnionModel.TestCase):
    settings = settings(
        max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
