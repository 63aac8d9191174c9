"""Staging directories: made over a version, compared, committed, discarded.

    area = StagingArea(repository)
    staging = area.create("animals", version=version, followed="latest")   # animals:@staging; None: starts empty
    area.get("animals", "staging"); area.iter_all("animals")
    area.changes(staging)                                                   # what `status` and `diff` show
    result = area.commit(staging, options, freezer=freezer)                 # result.result is a CommitResult
    area.remove(area.get("animals", "staging"))                             # `discard`, or `commit --close`

What is shown where, and by whom, is `mount`'s: before `remove`, detach the mount.

Used by the command line, the SDK and mount. Threading: functions over files and locks; any process.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from artifactfs.errors import (
    AlreadyExistsError,
    ArtifactFSError,
    BusyError,
    ConflictError,
    SourceChangedError,
    SourceNotFoundError,
    StagingNotFoundError,
    StorageFullError,
    translate_os_error,
)
from artifactfs.paths import DEFAULT_STAGING, printable
from artifactfs.repository.changes import suggest
from artifactfs.repository.commit import DEFAULT_OPTIONS, CommitOptions, CommitResult, check_options, commit_stored
from artifactfs.repository.diff import Change, diff_trees
from artifactfs.repository.format import REFERENCES
from artifactfs.repository.staged import Freezer, Limits, NoFreezer, Staging, StagingCommit, Verify
from artifactfs.repository.staged_tree import build_staged
from artifactfs.repository.staging_pins import StagingPins
from artifactfs.repository.sweeping import sweep_scratch
from artifactfs.repository.treebuilder import make_root
from artifactfs.repository.trees import Trees
from artifactfs.repository.upper import Comparison, Storing, UpperTree
from artifactfs.staging.files import remove_tree, sync_directory
from artifactfs.staging.layout import (
    AUTO,
    UNION,
    Layout,
    StagingInfo,
    clear_work,
    deciding,
    freezing,
    is_freezing,
    iter_infos,
    read_info,
    serving,
    write_driver,
    write_info,
)
from artifactfs.staging.lifecycle import (
    claimed,
    empty_upper,
    iter_ended,
    new_upper,
    read_unpin,
    remove_all,
    sweep_restoring,
    sweep_uppers,
    write_unpin,
)
from artifactfs.staging.marks import supports_marks
from artifactfs.staging.projectquota import begin_project, end_project
from artifactfs.staging.quota import check_quota

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import Collection, Root, Version
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.treebuilder import StoredDirectory

__all__ = ["Freezer", "NoFreezer", "Staging", "StagingArea", "StagingCommit"]

LOOKS = 5
"""How often `changes` looks again when something changes while it looks."""


class StagingArea:
    """The staging directories of a repository on this machine.

    Args:
        repository: whose.
        run: id of the run in which they are made and removed, if any; that of a commit says its options.
    """

    def __init__(self, repository: Repository, *, run: str | None = None) -> None:
        self._repository = repository
        self._pins = StagingPins(repository, run)

    def create(
        self,
        collection: str,
        *,
        name: str = DEFAULT_STAGING,
        version: Version | None,
        followed: str | None = None,
        driver: str = AUTO,
        quota: int | None = None,
    ) -> Staging:
        """Make a staging directory.

        Args:
            collection: where a commit goes; it need not exist yet.
            name: without `@`.
            version: what it shows at first; None for nothing. It is pinned by a log record.
            followed: the alias by which the version was named, if any.
            driver: which is to serve it: `auto`, `overlay` or `union`.
            quota: bytes that its files may occupy; None for no limit.

        Raises:
            AlreadyExistsError: there is one of this name.
            InvalidNameError: a name that cannot be one.
            StorageFullError, AccessDeniedError: it cannot be made; there is none then.
        """
        repository = self._repository
        repository.check_writable()
        layout = Layout(repository.state_directory, collection=collection, name=name)
        self._finish_ended(collection)
        _check_free(layout)  # one that is served is locked by its server
        try:
            with claimed(layout):
                _check_free(layout)
                if not supports_marks(layout.work):
                    msg = f"{printable(layout.directory)} is on a file system without whiteouts or user.* attributes"
                    raise ConflictError(msg, hint="set ARTIFACTFS_STATE to a directory on ext4, xfs or btrfs")
                info = self._begin(layout, version, followed, Limits(driver, quota))
        except OSError as error:
            raise translate_os_error(error, doing=f"making the staging directory {collection}:@{name}") from error
        return Staging(info, layout)

    def get(self, collection: str, name: str = DEFAULT_STAGING) -> Staging:
        """Return a staging directory.

        Raises:
            StagingNotFoundError: there is none of this name; the hint has names nearly like it, or all.
        """
        layout = Layout(self._repository.state_directory, collection=collection, name=name)
        try:
            return Staging(read_info(layout), layout)
        except StagingNotFoundError as error:
            hint = self._suggest(layout) or error.hint
            raise StagingNotFoundError(error.message, hint=hint, subject=error.subject) from error

    def _suggest(self, layout: Layout) -> str:
        """Return a hint for a staging directory that is not there; "" when there is none at all."""
        infos = list(iter_infos(self._repository.state_directory))
        near = suggest(f"@{layout.name}", (f"@{info.name}" for info in infos if info.collection == layout.collection))
        known = ", ".join(f"{info.collection}:@{info.name}" for info in infos)
        return near or (f"there are {known}" if known else "")

    def iter_all(self, collection: str | None = None) -> Iterator[Staging]:
        """Yield all staging directories, or those of one collection, in order of their names."""
        state = self._repository.state_directory
        for info in iter_infos(state, collection):
            yield Staging(info, Layout(state, collection=info.collection, name=info.name))

    def changes(self, staging: Staging) -> list[Change]:
        """Return what is different from the version that was committed last, or from the base.

        Files that were not read since they were written to are read. Nothing is stored, and nothing is held:
        what is changed meanwhile may or may not be told.

        Raises:
            UsageError: there are sockets, FIFOs or devices.
            SourceChangedError, SourceNotFoundError: something changes each time it is looked at.
            IntegrityError: the version below is damaged.
        """
        stored, trees = self._look(staging)
        return diff_trees(trees, self._find_present(staging)[1], make_root(stored))

    def snapshot(self, staging: Staging) -> tuple[Root, Trees]:
        """Return what a staging directory shows, as the tree that a commit would make of it, and what reads that.

        Nothing is stored or held; otherwise as `changes`. Files that were changed are not in the store.
        """
        stored, trees = self._look(staging)
        return make_root(stored), trees

    def _look(self, staging: Staging) -> tuple[StoredDirectory, Trees]:
        for look in range(LOOKS):
            try:
                return build_staged(self._repository, staging, staging.info.root, Comparison(self._repository))[:2]
            except (SourceChangedError, SourceNotFoundError):
                if look == LOOKS - 1:
                    raise
        raise AssertionError

    def present_root(self, staging: Staging) -> Root | None:
        """Return the root of the version that `changes` compares with; None for an empty one."""
        return self._find_present(staging)[1]

    def commit(
        self, staging: Staging, options: CommitOptions = DEFAULT_OPTIONS, *, freezer: Freezer | None = None
    ) -> StagingCommit:
        """Make what a staging directory shows the next version.

        Changes are held meanwhile. Afterwards the staging directory goes on as it is, and is compared with the new
        version.

        Args:
            staging: what to commit.
            options: what else to record; its `base` is filled in.
            freezer: holds changes; None when nothing serves the staging directory.

        Raises:
            BusyError: files are open for writing, or its server ended meanwhile; nothing was committed.
            ConflictError: `expect_base` no longer holds.
            UsageError, SourceChangedError, StorageFullError, IntegrityError: nothing was committed. StorageFullError
                also when it holds more than its quota.
        """
        repository = self._repository
        with ExitStack() as stack:
            verify = self._hold(stack, staging, freezer or NoFreezer())
            staging = self.get(staging.collection, staging.name)
            check_quota(staging.layout, staging.info)
            before = repository.load_state(staging.collection)
            full = replace(options, base=self._find_present(staging)[0])
            check_options(before, full)
            built: list[UpperTree] = []

            def store() -> Root:
                base = self._pins.find_base(staging)
                with repository.blobs.begin() as batch:
                    stored, _, tree = build_staged(self._repository, staging, base, Storing(batch))
                    if tree.has_references:
                        repository.announce(REFERENCES)
                    batch.flush()
                if verify is not None:
                    verify()  # now that all is read, and nothing recorded
                built.append(tree)
                return make_root(stored)

            def note_inputs(options: CommitOptions) -> CommitOptions:
                return replace(options, inputs=tuple(dict.fromkeys((*options.inputs, *sorted(built[-1].origins)))))

            result = commit_stored(repository, staging.collection, store, full, amend=note_inputs)
            moved = _find_move(before, staging.info)
            staging, unnoted = self._record(staging, result)
            if verify is None:
                sweep_scratch(staging.upper, built[-1].scratch)  # nothing serves it
        return StagingCommit(_with_dropped(result, built[-1]), staging, moved, tuple(built[-1].scratch), unnoted)

    def renew(self, staging: Staging) -> Staging:
        """Put an empty upper directory over the version that was committed last, if nothing changed since.

        Only for a staging directory that nothing serves: call it before serving it, holding `serving`. While a commit
        reads it, whose server was killed, nothing is done.

        Raises:
            ArtifactFSError: it could not be renewed, and is as it was.
        """
        info = staging.info
        if is_freezing(staging.layout):
            return staging
        sweep_uppers(staging.layout, info)
        sweep_restoring(staging.layout, info)
        if info.committed is None or info.committed_root is None or self.changes(staging):
            return staging
        version = self._repository.load_state(staging.collection).versions.get(info.committed)
        if version is None:
            return staging  # deleted meanwhile: what is below must stay
        try:
            return self._put_over(staging, version)
        except OSError as error:
            raise translate_os_error(error, doing=f"renewing the staging directory {staging}") from error

    def remove(self, staging: Staging) -> None:
        """End a staging directory: what it holds and was not committed is lost.

        When it is interrupted, the next one that is made in this collection finishes it.

        Raises:
            BusyError: it is being served or committed.
            AccessDeniedError: something in it could not be removed.
            StorageFullError: there is no room for the record that gives up its base, even though what it held is gone.
        """
        layout = staging.layout
        with serving(layout):
            try:
                try:
                    self._end(staging)
                except StorageFullError:
                    empty_upper(layout, staging.info)
                    self._end(staging)
                remove_all(layout)
            except OSError as error:
                raise translate_os_error(error, doing=f"removing the staging directory {staging}") from error

    def _end(self, staging: Staging) -> None:
        layout = staging.layout
        write_unpin(layout, [*read_unpin(layout), staging.info.pin])
        with suppress(FileNotFoundError):
            os.unlink(layout.info)
        sync_directory(layout.directory)
        self._pins.give_up_base(staging)
        if staging.info.project is not None:
            end_project(layout.directory, staging.info.project)

    def _begin(self, layout: Layout, version: Version | None, followed: str | None, limits: Limits) -> StagingInfo:
        sweep_uppers(layout, None)
        write_unpin(layout, read_unpin(layout))
        try:
            info = self._make(layout, version, followed, limits)
        except BaseException:
            with suppress(ArtifactFSError, OSError):  # or the next one finishes it
                self._pins.take_away(layout, None)
                remove_all(layout)
            raise
        self._pins.take_away(layout, info)
        remove_tree(layout.unpin)
        return info

    def _make(self, layout: Layout, version: Version | None, followed: str | None, limits: Limits) -> StagingInfo:
        pin = self._pins.pin(layout, version) if version is not None else ""
        write_driver(layout, UNION)
        quota = limits.quota
        project = None if quota is None else begin_project(layout.directory, quota)
        if project is not None:
            clear_work(layout)  # it belongs to no project yet
        info = StagingInfo(
            collection=layout.collection,
            name=layout.name,
            upper=new_upper(layout, version.root if version is not None else None),
            base=version.number if version is not None else None,
            root=version.root if version is not None else None,
            pin=pin,
            created_ns=self._repository.clock.now_ns(),
            followed=followed,
            followed_version=version.number if version is not None else None,
            driver=limits.driver,
            quota=quota,
            project=project,
        )
        write_info(layout, info)
        return info

    def _put_over(self, staging: Staging, version: Version) -> Staging:
        layout, old = staging.layout, read_info(staging.layout)  # its quota may be another by now
        pin = self._pins.pin(layout, version)
        info = msgspec.structs.replace(
            old,
            upper=new_upper(layout, version.root),
            base=version.number,
            root=version.root,
            pin=pin,
            committed=None,
            committed_root=None,
        )
        write_unpin(layout, [*read_unpin(layout), old.pin])
        write_info(layout, info)
        self._pins.take_away(layout, info)
        remove_tree(layout.unpin)
        sweep_uppers(layout, info)
        return Staging(info, layout)

    def _hold(self, stack: ExitStack, staging: Staging, freezer: Freezer) -> Verify | None:
        """Keep a staging directory as it is: where it is served by freezing, else by its lock.

        The lock alone says nothing: a kernel's overlay goes on without its server. Returns what verifies the freeze.

        Raises:
            BusyError: files are open for writing, or another process commits or discards it.
        """
        stack.enter_context(deciding(staging.layout))
        stack.enter_context(freezing(staging.layout))
        verify = stack.enter_context(freezer.freeze(staging))
        if verify is None:
            stack.enter_context(serving(staging.layout))
        return verify

    def _find_present(self, staging: Staging) -> tuple[int | None, Root | None]:
        """Return number and root of what a staging directory is compared with.

        That is the version committed last, or when this was deleted (and its trees may be gone) the base, which is
        pinned.
        """
        info = staging.info
        if info.committed in self._repository.load_state(info.collection).versions:
            return info.committed, info.committed_root
        return info.base, info.root

    def _finish_ended(self, collection: str) -> None:
        """Finish what was interrupted while it began or ended."""
        for layout in iter_ended(self._repository.state_directory, collection):
            with suppress(BusyError, StagingNotFoundError), serving(layout):
                if layout.is_ended:
                    self._pins.take_away(layout, None)
                    remove_all(layout)

    def _record(self, staging: Staging, result: CommitResult) -> tuple[Staging, str]:
        """Note the new version; return why that could not be done, if it could not: the version is there."""
        version, followed = result.version, staging.info.followed
        info = msgspec.structs.replace(
            staging.info,
            committed=version.number,
            committed_root=version.root,
            followed_version=None if followed is None else result.collection.aliases.get(followed),
        )
        try:
            write_info(staging.layout, info)
        except ArtifactFSError as error:
            return staging, error.message
        return Staging(info, staging.layout), ""


def _check_free(layout: Layout) -> None:
    if os.path.exists(layout.info):
        name = f"{layout.collection}:@{layout.name}"
        hint = f"use it, `artifactfs discard {name}`, or give this one another --name"
        raise AlreadyExistsError(f"there is a staging directory {name} already", hint=hint, subject=name)


def _find_move(before: Collection, info: StagingInfo) -> tuple[str, int | None] | None:
    if info.followed is None:
        return None
    there = before.aliases.get(info.followed)
    return None if there == info.followed_version else (info.followed, there)


def _with_dropped(result: CommitResult, tree: UpperTree) -> CommitResult:
    dropped = tree.dropped
    return replace(
        result, dropped_xattrs=tuple(dropped.examples), dropped_count=dropped.count, unverified=tree.unverified
    )
