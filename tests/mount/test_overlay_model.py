"""Random operations on an overlay and on a plain directory: a commit stores what both show, byte for byte."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.repository.put import put_paths
from artifactfs.repository.sources import Source
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import serving
from artifactfs.testing.repositories import commit_files, make_repository
from artifactfs.vfs.union.union import Caller, Union
from tests.mount.overlay_support import overlaid
from tests.staging.union_support import FILES, outcome, serve, write_plain

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(not may_overlay(), reason="needs CAP_SYS_ADMIN in the initial user namespace"),
]

DIRECTORIES = [
    b"images",
    b"images/deep",
    b"images/deep/er",
    b"images/none",
    b"new",
    b"images/new",
    b"new/deep",
    b"moved",
]
NAMES = [b"a.txt", b"cat", b"deep", b"er", b"x", b"new", b"link", b"\xff"]
paths = st.sampled_from([*DIRECTORIES * 4, *NAMES, *(above + b"/" + name for above in DIRECTORIES for name in NAMES)])
contents = st.binary(max_size=20)
directories = st.sampled_from(DIRECTORIES)
renames = st.lists(st.tuples(directories, directories), max_size=4)


class Frozen:
    """Stands for a server that holds everything: nothing is written during a commit here."""

    def freeze(self, staging: Staging):
        return contextlib.nullcontext(lambda: None)


class OverlayModel(RuleBasedStateMachine):
    """Does everything twice: in an overlay, and in a plain directory. The union may have begun."""

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
        self.staging = self.area.create("animals", version=commit_files(self.repository, "animals", FILES))
        self.mounted = self.stack.enter_context(ExitStack())
        self.top: bytes | None = None

    def teardown(self) -> None:
        with self.stack:
            self.check_commit()

    def both(self, call: Callable[[bytes], object]) -> None:
        if self.top is None:
            self.top = bytes(self.mounted.enter_context(overlaid(self.repository, self.staging, Path(self.work))))
        assert outcome(lambda: call(self.top + b"/")) == outcome(lambda: call(self.plain + b"/"))

    @initialize(moves=renames, gone=st.lists(directories, max_size=2))
    def begin_with_the_union(self, moves: list[tuple[bytes, bytes]], gone: list[bytes]) -> None:
        me = Caller(os.getpid(), os.geteuid(), os.getegid())
        with serve(self.repository, self.staging) as union:
            for old, new in moves:
                if not self.goes_through_link(old, new):
                    wanted = outcome(
                        lambda old=old, new=new: os.rename(self.plain + b"/" + old, self.plain + b"/" + new)
                    )
                    assert outcome(lambda old=old, new=new: union.rename(old, new)) == wanted
            for path in gone:
                if os.path.isdir(self.plain + b"/" + path):
                    self.empty(union, path)
                    union.rmdir(path)
                    shutil.rmtree(self.plain + b"/" + path)
                    union.make_directory(path, 0o755, me)
                    os.mkdir(self.plain + b"/" + path, 0o755)

    def empty(self, union: Union, path: bytes) -> None:
        for name, _, kind in union.read_directory(path):
            below = path + b"/" + name
            if stat.S_ISDIR(kind):
                self.empty(union, below)
                union.rmdir(below)
            else:
                union.unlink(below)

    def goes_through_link(self, *wanted: bytes) -> bool:
        return any(
            os.path.islink(self.plain + b"/" + b"/".join(path.split(b"/")[:count]))
            for path in wanted
            for count in range(1, path.count(b"/") + 1)
        )

    @rule(path=paths, content=contents, flags=st.sampled_from([os.O_TRUNC, os.O_APPEND, 0, os.O_EXCL]))
    def write(self, path: bytes, content: bytes, flags: int) -> None:
        def call(top: bytes) -> None:
            descriptor = os.open(top + path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
            os.write(descriptor, content)
            os.close(descriptor)

        self.both(call)

    @rule(path=paths, size=st.integers(0, 30))
    def truncate(self, path: bytes, size: int) -> None:
        self.both(lambda top: os.truncate(top + path, size))

    @rule(path=paths)
    def mkdir(self, path: bytes) -> None:
        self.both(lambda top: os.mkdir(top + path, 0o755))

    @rule(path=paths)
    def unlink(self, path: bytes) -> None:
        self.both(lambda top: os.unlink(top + path))

    @rule(path=paths)
    def rmdir(self, path: bytes) -> None:
        self.both(lambda top: os.rmdir(top + path))

    @rule(path=directories, again=st.booleans())
    def remove_tree(self, path: bytes, again: bool) -> None:
        self.both(lambda top: shutil.rmtree(top + path))
        if again:
            self.both(lambda top: os.mkdir(top + path, 0o755))

    @rule(old=directories, new=directories)
    def rename_directory(self, old: bytes, new: bytes) -> None:
        self.both(lambda top: os.rename(top + old, top + new))

    @rule(old=paths, new=paths)
    def rename(self, old: bytes, new: bytes) -> None:
        self.both(lambda top: os.rename(top + old, top + new))

    @rule(old=paths, new=paths)
    def link(self, old: bytes, new: bytes) -> None:
        self.both(lambda top: os.link(top + old, top + new, follow_symlinks=False))

    @rule(path=paths)
    def symlink(self, path: bytes) -> None:
        self.both(lambda top: os.symlink(b"a.txt", top + path))

    @rule(path=paths, mode=st.sampled_from([0o600, 0o644, 0o755]))
    def chmod(self, path: bytes, mode: int) -> None:
        self.both(lambda top: os.chmod(top + path, mode))

    @rule(renew=st.booleans())
    def commit(self, renew: bool) -> None:
        self.check_commit()
        if renew:
            self.mounted.close()
            self.top = None
            with serving(self.staging.layout):
                self.staging = self.area.renew(self.staging)
            assert os.listdir(self.staging.upper) == []
            self.part_links()

    def check_commit(self) -> None:
        self.both(os.listdir)
        assert self.top is not None
        shown = put_paths(self.repository, "shown", [Source(self.top + b"/.")]).version.root
        plain = put_paths(self.repository, "plain", [Source(self.plain + b"/.")]).version.root
        done = self.area.commit(self.staging, freezer=Frozen())
        assert done.result.version.root.tree == shown.tree
        assert done.result.version.root.content == plain.content
        self.staging = done.staging
        assert self.area.changes(self.staging) == []

    def part_links(self) -> None:
        """Make a file of each name: a version does not keep which of them were one."""
        for where, _, names in os.walk(self.plain):
            for name in names:
                path = os.path.join(where, name)
                if os.lstat(path).st_nlink > 1:
                    shutil.copy2(path, self.plain + b".part", follow_symlinks=False)
                    os.replace(self.plain + b".part", path)


class TestOverlayModel(OverlayModel.TestCase):
    settings = settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestOverlayModelLonger(OverlayModel.TestCase):
    settings = settings(
        max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
