"""Where a staging directory lies, and what is known about it.

    staging/<collection>/<name>/
        staging.json     what it is based on; replaced as a whole
        upper-<n>/       what was changed: the present one is named in staging.json
        work/            files that are being made
        kernel/          the kernel's own work directory, while overlayfs serves it
        driver           which marks the upper directory has: `union` or `overlay`
        hashes           digests of files in the upper directory, by path, size, times and inode
        unpin            pins to be taken away, but for the one that staging.json names; there while it begins or
                         ends, so that a crash in between leaves neither a pin for ever nor files
        lock             held by the one process that serves it
        freeze           held by the process that commits it, for as long as nothing may change

Everything is plain files, so that a person can look at it and a crash leaves it as it was.

Used by the union, by commit and by mount. Threading: functions without state.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from artifactfs.errors import (
    ArtifactFSError,
    BusyError,
    MalformedError,
    StagingNotFoundError,
    translate_os_error,
)
from artifactfs.filelocks import is_locked
from artifactfs.model import Root
from artifactfs.paths import check_collection_name, check_staging_name, printable
from artifactfs.staging.files import remove_tree, write_durably

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = "staging"
SCRATCH: Final = b".artifactfs-restoring-"
"""How the names begin under which `restore` makes files in a mounted staging directory: never part of a version."""
UNION, OVERLAY, AUTO = "union", "overlay", "auto"
DRIVERS: Final = (AUTO, OVERLAY, UNION)


class StagingInfo(Struct, frozen=True):
    """What a staging directory is.

    Attributes:
        collection: the collection that a commit goes to.
        name: its name, without `@`.
        upper: name of the present upper directory.
        base: number of the version below; None when nothing is below.
        root: top directory of that version.
        pin: id of the log record that keeps the base; empty without base.
        committed: number of the version that was committed last, if any.
        committed_root: its top directory.
        followed: the alias that it started from, if any.
        followed_version: the version that this alias pointed to when it was made, or after the last commit.
        created_ns: when it was made, nanoseconds since 1970 UTC.
        driver: which driver is to serve it: `overlay`, `union`, or `auto` for the best that there is.
        quota: bytes that its files may occupy; None for no limit.
        project: number of the project by which the file system keeps the quota, if it does.
    """

    collection: str
    name: str
    upper: str
    base: int | None
    root: Root | None
    pin: str
    created_ns: int
    committed: int | None = None
    committed_root: Root | None = None
    followed: str | None = None
    followed_version: int | None = None
    driver: str = AUTO
    quota: int | None = None
    project: int | None = None

    @property
    def present(self) -> int | None:
        """Number of the version that `status` compares with: the last committed, else the base."""
        return self.base if self.committed is None else self.committed

    @property
    def present_root(self) -> Root | None:
        """Top directory of the version that `status` compares with."""
        return self.root if self.committed is None else self.committed_root

    def __str__(self) -> str:
        """Return its REF."""
        return f"{self.collection}:@{self.name}"


class Layout:
    """The paths of one staging directory. Immutable.

    Attributes:
        collection: its collection.
        name: its name, without `@`.
        directory: where all of it lies.
    """

    def __init__(self, state_directory: str, *, collection: str, name: str) -> None:
        parts = (FOLDER, check_collection_name(collection), check_staging_name(name))
        self.collection = collection
        self.name = name
        self.directory = os.fsencode(os.path.join(state_directory, *parts))

    @property
    def info(self) -> bytes:
        """Path of `staging.json`."""
        return os.path.join(self.directory, b"staging.json")

    @property
    def work(self) -> bytes:
        """Path of the directory for files that are being made."""
        return os.path.join(self.directory, b"work")

    @property
    def kernel_work(self) -> bytes:
        """Path of the directory in which the kernel makes files, when overlayfs serves the staging directory."""
        return os.path.join(self.directory, b"kernel")

    @property
    def driver(self) -> bytes:
        """Path of the file that names the driver."""
        return os.path.join(self.directory, b"driver")

    @property
    def hashes(self) -> bytes:
        """Path of the known digests."""
        return os.path.join(self.directory, b"hashes")

    @property
    def unpin(self) -> bytes:
        """Path of the file that names pins to be taken away."""
        return os.path.join(self.directory, b"unpin")

    @property
    def lock(self) -> bytes:
        """Path of the lock."""
        return os.path.join(self.directory, b"lock")

    @property
    def freeze(self) -> bytes:
        """Path of the lock that says that a commit reads."""
        return os.path.join(self.directory, b"freeze")

    @property
    def is_ended(self) -> bool:
        """Whether what lies here is no staging directory, but the remains of one that was to begin or to end."""
        if os.path.exists(self.info):
            return False
        return os.path.exists(self.unpin) or not any(name.startswith(b"upper-") for name in os.listdir(self.directory))

    def upper(self, info: StagingInfo) -> bytes:
        """Return the path of the present upper directory."""
        return os.path.join(self.directory, os.fsencode(info.upper))


def read_info(layout: Layout) -> StagingInfo:
    """Return what a staging directory is.

    Raises:
        StagingNotFoundError: there is none.
        MalformedError: `staging.json` does not decode.
    """
    try:
        with open(layout.info, "rb") as file:
            return msgspec.json.decode(file.read(), type=StagingInfo)
    except FileNotFoundError:
        raise _not_found(layout) from None
    except msgspec.MsgspecError as error:
        msg = f"{printable(layout.info)} does not decode: {error}"
        raise MalformedError(msg, hint="the changed files are beside it, in upper-*", subject=str(error)) from error


def write_info(layout: Layout, info: StagingInfo) -> None:
    """Replace what is known about a staging directory, durably and as a whole."""
    write_durably(layout.info, msgspec.json.format(msgspec.json.encode(info)))


def read_driver(layout: Layout) -> str:
    """Return which driver made the marks of the upper directory."""
    try:
        with open(layout.driver, "rb") as file:
            return file.read().strip().decode("utf-8", "replace")
    except FileNotFoundError:
        return UNION


def write_driver(layout: Layout, driver: str) -> None:
    """Note durably which driver's marks the upper directory has."""
    write_durably(layout.driver, driver.encode() + b"\n")


def iter_infos(state_directory: str, collection: str | None = None) -> Iterator[StagingInfo]:
    """Yield the staging directories of a repository, or of one collection, in order of their names.

    One whose `staging.json` cannot be read is passed over; naming it says why.
    """
    top = os.path.join(state_directory, FOLDER)
    for folder in [collection] if collection is not None else list_names(top):
        for name in list_names(os.path.join(top, folder)):
            with suppress(ArtifactFSError, OSError):
                yield read_info(Layout(state_directory, collection=folder, name=name))


def list_names(path: str) -> list[str]:
    """Return the names in a directory in order, without those that begin with a dot; none when it is missing."""
    try:
        return sorted(name for name in os.listdir(path) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def serving(layout: Layout) -> Iterator[None]:
    """Hold a staging directory: one process at a time serves it.

    Raises:
        BusyError: another process does.
        StagingNotFoundError: there is none, or it was removed just now.
    """
    try:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        raise _not_found(layout) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"the staging directory {printable(layout.directory)} is in use"
            raise BusyError(msg, hint="another process serves, commits or discards it") from None
        if not os.fstat(descriptor).st_nlink:
            raise _not_found(layout)  # removed, with its lock, between the two steps
        clear_work(layout)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def deciding(layout: Layout) -> Iterator[None]:
    """Let nobody else commit or remove a staging directory meanwhile, whether or not it is served.

    The lock is on the directory itself: `serving` belongs to the process that serves it.

    Raises:
        BusyError: another process commits or removes it.
        StagingNotFoundError: there is none, or it was removed just now.
    """
    try:
        descriptor = os.open(layout.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise _not_found(layout) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"the staging directory {printable(layout.directory)} is being committed or removed"
            raise BusyError(msg, hint="run the same command again when that has ended") from None
        if not os.fstat(descriptor).st_nlink:
            raise _not_found(layout)
        yield
    finally:
        os.close(descriptor)


def is_deciding(layout: Layout) -> bool:
    """Return whether a process commits or removes a staging directory now; not for often: who begins to meets this."""
    return is_locked(layout.directory, fcntl.LOCK_SH, flags=os.O_RDONLY | os.O_DIRECTORY)


@contextmanager
def freezing(layout: Layout) -> Iterator[None]:
    """Say that nothing may change: a server that is started meanwhile keeps everything as it is.

    Inside `deciding`, so that only servers that look hold it besides, for an instant. It ends with the process.

    Raises:
        StorageFullError, AccessDeniedError: the lock cannot be made.
    """
    try:
        descriptor = os.open(layout.freeze, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise translate_os_error(error, doing=f"making {printable(layout.freeze)}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_freezing(layout: Layout) -> bool:
    """Return whether a process commits a staging directory now."""
    return not _wait_for_freeze(layout, fcntl.LOCK_NB)


def await_freeze_end(layout: Layout) -> None:
    """Return when nobody commits a staging directory any more."""
    _wait_for_freeze(layout, 0)


def _wait_for_freeze(layout: Layout, flags: int) -> bool:
    try:
        descriptor = os.open(layout.freeze, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | flags)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def clear_work(layout: Layout) -> None:
    """Remove what a killed process was making."""
    remove_tree(layout.work)
    os.makedirs(layout.work, mode=0o700, exist_ok=True)


def _not_found(layout: Layout) -> StagingNotFoundError:
    msg = f"there is no staging directory {layout.collection}:@{layout.name}"
    return StagingNotFoundError(msg, hint=f"`artifactfs stage {layout.collection}` makes one")
