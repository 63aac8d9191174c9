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
import shutil
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import msgspec

from artifactfs.errors import AlreadyExistsError, BusyError, ConflictError, translate_os_error
from artifactfs.paths import DEFAULT_STAGING, printable
from artifactfs.repository import changes
from artifactfs.repository.commit import DEFAULT_OPTIONS, CommitOptions, CommitResult, check_options, commit_root
from artifactfs.repository.diff import Change, diff_trees
from artifactfs.repository.lower import Lower
from artifactfs.repository.treebuilder import make_root
from artifactfs.repository.trees import Trees
from artifactfs.repository.upper import Comparison, Storing, UpperTree
from artifactfs.staging.hashes import load_hashes
from artifactfs.staging.layout import (
    OVERLAY,
    UNION,
    Layout,
    StagingInfo,
    iter_infos,
    new_upper,
    read_driver,
    read_info,
    serving,
    sync_directory,
    write_durably,
    write_info,
)
from artifactfs.staging.marks import TRUSTED, USER, supports_marks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from artifactfs.model import Collection, DirectoryEntry, Version
    from artifactfs.repository.repository import Repository

PIN_SIZE = 16


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging directory, as it was when it was looked at.

    Attributes:
        info: what it is.
        layout: where it lies.
    """

    info: StagingInfo
    layout: Layout

    @property
    def collection(self) -> str:
        """The collection that a commit goes to."""
        return self.info.collection

    @property
    def name(self) -> str:
        """Its name, without `@`."""
        return self.info.name

    @property
    def upper(self) -> bytes:
        """Path of its upper directory."""
        return self.layout.upper(self.info)

    @property
    def prefix(self) -> bytes:
        """Prefix of the marks in its upper directory."""
        return TRUSTED if read_driver(self.layout) == OVERLAY else USER

    def __str__(self) -> str:
        """Return its REF."""
        return str(self.info)


class Freezer(Protocol):
    """Keeps a staging directory as it is while it is committed; `mount.api.MountFreezer` is one."""

    def freeze(self, staging: Staging) -> AbstractContextManager[None]:
        """Hold all changes for as long as the context lasts.

        Raises:
            BusyError: files are open for writing; the message names processes and files.
        """


class NoFreezer:
    """For staging directories that nothing serves."""

    @contextmanager
    def freeze(self, staging: Staging) -> Iterator[None]:
        """Hold the staging directory itself.

        Raises:
            BusyError: something serves it.
        """
        with serving(staging.layout):
            yield


@dataclass(frozen=True, slots=True)
class StagingCommit:
    """What a commit of a staging directory did.

    Attributes:
        result: the commit.
        staging: the staging directory as it is now.
        moved: the alias it started from and the version this pointed to just before, when somebody else moved it.
    """

    result: CommitResult
    staging: Staging
    moved: tuple[str, int | None] | None = None


class StagingArea:
    """The staging directories of a repository on this machine."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def create(
        self, collection: str, *, name: str = DEFAULT_STAGING, version: Version | None, followed: str | None = None
    ) -> Staging:
        """Make a staging directory.

        Args:
            collection: where a commit goes; it need not exist yet.
            name: without `@`.
            version: what it shows at first; None for nothing. It is pinned by a log record.
            followed: the alias by which the version was named, if any.

        Raises:
            AlreadyExistsError: there is one of this name.
            InvalidNameError: a name that cannot be one.
            StorageFullError, AccessDeniedError: it cannot be made; there is none then.
        """
        repository = self._repository
        repository.check_writable()
        layout = Layout(repository.state_directory, collection=collection, name=name)
        try:
            os.makedirs(layout.directory, mode=0o700, exist_ok=True)
            with serving(layout):
                if os.path.exists(layout.info):
                    msg = f"there is a staging directory {collection}:@{name} already"
                    hint = "use it, `artifactfs discard` it, or give this one another --name"
                    raise AlreadyExistsError(msg, hint=hint, subject=f"{collection}:@{name}")
                if not supports_marks(layout.work):
                    msg = f"{printable(layout.work)} is on a file system without user.* attributes"
                    raise ConflictError(msg, hint="set ARTIFACTFS_STATE to a directory on ext4, xfs or btrfs")
                info = self._make(layout, collection, name, version, followed)
        except OSError as error:
            raise translate_os_error(error, doing=f"making the staging directory {collection}:@{name}") from error
        return Staging(info, layout)

    def get(self, collection: str, name: str = DEFAULT_STAGING) -> Staging:
        """Return a staging directory.

        Raises:
            StagingNotFoundError: there is none of this name.
        """
        layout = Layout(self._repository.state_directory, collection=collection, name=name)
        return Staging(read_info(layout), layout)

    def iter_all(self, collection: str | None = None) -> Iterator[Staging]:
        """Yield all staging directories, or those of one collection, in order of their names."""
        state = self._repository.state_directory
        for info in iter_infos(state, collection):
            yield Staging(info, Layout(state, collection=info.collection, name=info.name))

    def changes(self, staging: Staging) -> list[Change]:
        """Return what is different from the version that was committed last, or from the base.

        Files that were not read since they were written to are read. Nothing is stored.

        Raises:
            UsageError: there are sockets, FIFOs or devices.
            SourceChangedError: a file changes while it is read.
            IntegrityError: the version below is damaged.
        """
        target = Comparison(self._repository)
        entry, trees, _ = self._build(staging, target)
        return diff_trees(trees, staging.info.present_root, entry)

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
            BusyError: files are open for writing; nothing was committed.
            ConflictError: `expect_base` no longer holds.
            UsageError, SourceChangedError, StorageFullError, IntegrityError: nothing was committed.
        """
        repository = self._repository
        with ExitStack() as stack:
            stack.enter_context((freezer or NoFreezer()).freeze(staging))
            if freezer is not None:
                # Not served: keep a server from starting. Served: it holds the lock, and is frozen.
                with suppress(BusyError):
                    stack.enter_context(serving(staging.layout))
            staging = self.get(staging.collection, staging.name)
            before = repository.load_state(staging.collection)
            base = staging.info.present
            full = replace(options, base=base)
            check_options(before, full)
            with repository.blobs.begin() as batch:
                entry, _, tree = self._build(staging, Storing(batch))
                batch.flush()
            result = commit_root(repository, staging.collection, make_root(entry), full)
            staging = self._record(staging, result)
        result = _with_dropped(result, tree)
        return StagingCommit(result, staging, _find_move(before, staging.info.followed, base))

    def renew(self, staging: Staging) -> Staging:
        """Put an empty upper directory over the version that was committed last, if nothing changed since.

        Only for a staging directory that nothing serves: call it before serving it, holding `serving`.
        """
        info = staging.info
        if info.committed is None or info.committed_root is None or self.changes(staging):
            return staging
        version = self._repository.load_state(staging.collection).versions.get(info.committed)
        if version is None:
            return staging  # deleted meanwhile: what is below must stay
        pin = self._pin(staging.collection, version, staging.name)
        upper = new_upper(staging.layout, version.root)
        fresh = msgspec.structs.replace(
            info, upper=upper, base=version.number, root=version.root, pin=pin, committed=None, committed_root=None
        )
        write_info(staging.layout, fresh)
        shutil.rmtree(staging.upper, ignore_errors=True)
        self._unpin(staging.collection, info.pin)
        return Staging(fresh, staging.layout)

    def remove(self, staging: Staging) -> None:
        """End a staging directory: what it holds and was not committed is lost.

        Raises:
            BusyError: it is being served or committed.
        """
        with serving(staging.layout):
            os.unlink(staging.layout.info)
            sync_directory(staging.layout.directory)
            self._unpin(staging.collection, staging.info.pin)
            shutil.rmtree(staging.layout.directory, ignore_errors=True)
        with suppress(OSError):
            os.rmdir(os.path.dirname(staging.layout.directory))

    def _make(
        self, layout: Layout, collection: str, name: str, version: Version | None, followed: str | None
    ) -> StagingInfo:
        for leftover in os.listdir(layout.directory):
            if leftover.startswith(b"upper-"):
                shutil.rmtree(os.path.join(layout.directory, leftover))
        pin = self._pin(collection, version, name) if version is not None else ""
        write_durably(layout.driver, UNION.encode() + b"\n")
        info = StagingInfo(
            collection=collection,
            name=name,
            upper=new_upper(layout, version.root if version is not None else None),
            base=version.number if version is not None else None,
            root=version.root if version is not None else None,
            pin=pin,
            created_ns=self._repository.clock.now_ns(),
            followed=followed,
        )
        write_info(layout, info)
        return info

    def _pin(self, collection: str, version: Version, name: str) -> str:
        pin = os.urandom(PIN_SIZE).hex()
        purpose = f"staging directory @{name}"
        self._repository.append(
            collection, lambda state: changes.pin(state, pin=pin, version=version.number, purpose=purpose)
        )
        return pin

    def _unpin(self, collection: str, pin: str) -> None:
        if pin and pin in self._repository.load_state(collection).pins:
            self._repository.append(collection, lambda state: changes.unpin(state, pin=pin))

    def _build(self, staging: Staging, target: Storing | Comparison) -> tuple[DirectoryEntry, Trees, UpperTree]:
        repository = self._repository
        hashes = load_hashes(staging.layout, now_ns=repository.clock.now_ns())
        trees = Trees(target) if isinstance(target, Comparison) else Trees(repository.blobs)
        tree = UpperTree(
            staging.upper,
            Lower(repository, staging.info.root),
            prefix=staging.prefix,
            target=target,
            trees=trees,
            hashes=hashes,
        )
        entry = tree.build()
        hashes.save(staging.layout)
        return entry, trees, tree

    def _record(self, staging: Staging, result: CommitResult) -> Staging:
        version = result.version
        info = msgspec.structs.replace(staging.info, committed=version.number, committed_root=version.root)
        write_info(staging.layout, info)
        return Staging(info, staging.layout)


def _find_move(before: Collection, followed: str | None, base: int | None) -> tuple[str, int | None] | None:
    if followed is None:
        return None
    there = before.aliases.get(followed)
    return None if there == base else (followed, there)


def _with_dropped(result: CommitResult, tree: UpperTree) -> CommitResult:
    return replace(result, dropped_xattrs=tuple(tree.dropped.examples), dropped_count=tree.dropped.count)
