"""Open LMDB environments of this process, with the traps of opening one handled in one place.

- A process may open an environment once: handles are shared and counted, and forgotten in a forked child.
- The map may only be resized while no thread is in a transaction, and closed likewise: a gate sees to that.
- py-lmdb 3.0 lets an abort wait until no thread is inside any call, which busy readers can delay for ever: the gate
  keeps new ones out meanwhile.
- The lock file is written to through memory: its blocks are taken first (`lockfile`).
- A file that is cut short would end the process with SIGBUS when a page beyond its end is read: it is measured first.
- A damaged environment is set aside, and a new one begun, by one process at a time.

Used by `environment`. Threading: everything here may be shared by threads.

Source: https://lmdb.readthedocs.io; mdb_env_set_mapsize and mdb_env_close in lmdb.h; measured with LMDB 0.9.36.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import lmdb

from artifactfs.errors import (
    AccessDeniedError,
    ArtifactFSError,
    IndexCorruptError,
    StorageFullError,
    translate_os_error,
)
from artifactfs.index.lockfile import allocate_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

MAP_SIZES: Final = (1 << 36, 1 << 33, 1 << 30)
"""Address space for the map, largest first: where memory limits refuse one, the next is tried."""
MAX_READERS: Final = 1024
DATA_FILE: Final = "data.mdb"
_DAMAGE: Final = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError)

_log = logging.getLogger(__name__)


class Gate:
    """Lets transactions of many threads run together, and resizing or closing alone. Shared by threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._running = 0
        self._is_alone = False

    def enter(self) -> None:
        """Begin a transaction; waits while somebody is alone. A thread must not enter twice."""
        with self._changed:
            while self._is_alone:
                self._changed.wait()
            self._running += 1

    def leave(self) -> None:
        """End a transaction."""
        with self._changed:
            self._running -= 1
            if self._is_alone:
                self._changed.notify_all()

    @contextmanager
    def last(self) -> Iterator[None]:
        """From inside a transaction, wait until all others have ended, and keep new ones out meanwhile.

        For the one write transaction that a process can have. When somebody waits to be alone, no new ones come anyway.
        """
        with self._changed:
            is_mine = not self._is_alone
            self._is_alone = True
            while is_mine and self._running > 1:
                self._changed.wait()
        try:
            yield
        finally:
            if is_mine:
                self._reopen()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no transaction runs, and keep new ones out meanwhile."""
        with self._changed:
            while self._is_alone:
                self._changed.wait()
            self._is_alone = True
            while self._running:
                self._changed.wait()
        try:
            yield
        finally:
            self._reopen()

    def _reopen(self) -> None:
        with self._changed:
            self._is_alone = False
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Settings:
    """How an environment is opened.

    Attributes:
        tables: their names.
        durable: whether each write is synced to disk.
        replace: whether a damaged one is set aside and begun anew; otherwise it is an error.
    """

    tables: tuple[str, ...]
    durable: bool
    replace: bool


class Handle:
    """One open environment of this process. `env` is used between `gate.enter` and `gate.leave`. Shared by threads."""

    def __init__(self, directory: str, settings: Settings) -> None:
        self.directory = directory
        self.settings = settings
        self.pid = os.getpid()
        self.gate = Gate()
        self.users = 0
        self.env: Any = None
        self.tables: dict[str, Any] = {}
        self.inode = 0

    def open(self) -> None:
        """Open the environment, setting a damaged one aside if that is allowed.

        Raises:
            IndexCorruptError: it is damaged, and may not or cannot be set aside.
            AccessDeniedError, StorageFullError: the directory cannot be used.
        """
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            try:
                self._open_once()
            except _DAMAGE:
                if not self.settings.replace:
                    raise
                self._open_anew()
        except lmdb.Error as error:
            raise translate_lmdb_error(error, self.directory) from error
        except OSError as error:
            msg = f"opening the index {self.directory}"
            raise translate_os_error(error, doing=msg, subject=self.directory) from error

    def replace(self) -> None:
        """Set aside what is open and turned out to be damaged, and begin anew; for all users of the handle.

        Raises:
            IndexCorruptError, AccessDeniedError, StorageFullError: as `open`.
        """
        with self.gate.alone():
            self.env.close()
            try:
                with _replacing(self.directory):
                    if self.inode == find_inode(self.directory):  # else another process has replaced it already
                        _set_aside(self.directory)
            except OSError as error:
                msg = f"setting the index {self.directory} aside"
                raise translate_os_error(error, doing=msg, subject=self.directory) from error
            self.open()

    def resize(self, size: int) -> None:
        """Change the size of the map; 0 adopts what another process has made it.

        Raises:
            StorageFullError: there is no address space for it.
        """
        with self.gate.alone():
            try:
                self.env.set_mapsize(size)
            except lmdb.Error as error:
                # LMDB gives the old map up before it asks for the new one, and is closed when it gets none.
                self.env.close()
                self.open()
                msg = f"the index {self.directory} is full and cannot grow: {error}"
                raise StorageFullError(msg, hint="run: artifactfs index rebuild", subject=self.directory) from error

    def close(self) -> None:
        """Close when the last transaction has ended."""
        with self.gate.alone():
            self.env.close()

    def _open_once(self) -> None:
        env = _open_with_largest_map(self.directory, self.settings)
        try:
            inode = find_inode(self.directory)
            _check_length(env, self.directory)
            env.reader_check()
            tables = _open_tables(env, self.settings.tables)
        except BaseException:
            env.close()
            raise
        self.env, self.tables, self.inode = env, tables, inode

    def _open_anew(self) -> None:
        with _replacing(self.directory):
            try:
                self._open_once()  # another process may have replaced it meanwhile
            except _DAMAGE as error:
                _log.warning("the index %s is damaged (%s): it is set aside and built anew", self.directory, error)
                _set_aside(self.directory)
                self._open_once()


class _Registry:
    """The handles of one process. Shared by threads."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.handles: dict[str, Handle] = {}


# LMDB allows one open per process and file, so what is open is a fact of the process. One registry for each process
# id: a forked child gets its own, whatever state the locks of its parent were in.
_REGISTRIES: dict[int, _Registry] = {}


def acquire(directory: str, settings: Settings) -> Handle:
    """Return this process's handle of the environment in a directory, opened if need be; `release` gives it back.

    Raises:
        IndexCorruptError, AccessDeniedError, StorageFullError: see `Handle.open`.
    """
    registry = _registry()
    with registry.guard:
        handle = registry.handles.get(directory)
        if handle is not None and handle.inode != find_inode(directory):
            handle = None  # the directory was deleted below an open environment, and perhaps made anew
        if handle is None:
            handle = Handle(directory, settings)
            handle.open()
            registry.handles[directory] = handle
        handle.users += 1
        return handle


def release(handle: Handle) -> None:
    """Give a handle back; the last one closes it. What was inherited through a fork is the parent's."""
    if handle.pid != os.getpid():
        return
    registry = _registry()
    with registry.guard:
        handle.users -= 1
        if handle.users:
            return
        if registry.handles.get(handle.directory) is handle:
            del registry.handles[handle.directory]
        handle.close()


def replace(handle: Handle, inode: int) -> None:
    """Set aside a damaged environment, for all who use the handle, unless that has been done since.

    Args:
        handle: what is open.
        inode: of the file that was found to be damaged.

    Raises:
        IndexCorruptError, AccessDeniedError, StorageFullError: see `Handle.open`.
    """
    with _registry().guard:
        if handle.inode == inode:
            handle.replace()


def translate_lmdb_error(error: lmdb.Error, directory: str) -> ArtifactFSError:
    """Return the error of the tree in `errors` that says what an error of LMDB means."""
    if isinstance(error, (lmdb.DiskError, lmdb.MapFullError, lmdb.MemoryError)):
        msg = f"there is no room for the index {directory}: {error}"
        return StorageFullError(msg, hint="free some space", subject=directory)
    if isinstance(error, lmdb.ReadonlyError):
        msg = f"the index {directory} may not be written to: {error}"
        return AccessDeniedError(msg, hint="check the permissions", subject=directory)
    what = "is damaged" if isinstance(error, _DAMAGE) else "cannot be used"
    msg = f"the index {directory} {what}: {error}"
    return IndexCorruptError(msg, hint="run: artifactfs index rebuild", subject=directory)


def find_inode(directory: str) -> int:
    """Return the inode of the environment's data file, or 0 when there is none."""
    try:
        return os.stat(os.path.join(directory, DATA_FILE)).st_ino
    except OSError:
        return 0


def _registry() -> _Registry:
    pid = os.getpid()
    registry = _REGISTRIES.get(pid)
    if registry is None:
        registry = _REGISTRIES.setdefault(pid, _Registry())
        _forget_inherited(pid)
    return registry


def _forget_inherited(pid: int) -> None:
    # LMDB refuses to open again what a parent had open. Closing frees this process's copy and leaves the parent's.
    for owner in [owner for owner in _REGISTRIES if owner != pid]:
        for handle in _REGISTRIES.pop(owner, _Registry()).handles.values():
            handle.env.close()


def _open_with_largest_map(directory: str, settings: Settings) -> Any:
    allocate_lock(directory, MAX_READERS)
    for size in MAP_SIZES:
        try:
            return lmdb.open(
                directory,
                map_size=size,
                max_dbs=len(settings.tables),
                max_readers=MAX_READERS,
                sync=settings.durable,
                metasync=settings.durable,
                readahead=False,
                mode=0o600,
            )
        except lmdb.MemoryError:
            if size == MAP_SIZES[-1]:
                raise
    raise AssertionError  # the last size returns or raises


def _open_tables(env: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: env.open_db(name.encode()) for name in names}


def _check_length(env: Any, directory: str) -> None:
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    size = os.stat(os.path.join(directory, DATA_FILE)).st_size
    if size < needed:
        msg = f"{DATA_FILE} has {size} bytes instead of {needed}"
        raise lmdb.CorruptedError(msg)


def _set_aside(directory: str) -> None:
    # One such copy is kept for whoever wants to look at it.
    kept = f"{directory}.damaged"
    shutil.rmtree(kept, ignore_errors=True)
    os.rename(directory, kept)
    os.makedirs(directory, mode=0o700)


@contextmanager
def _replacing(directory: str) -> Iterator[None]:
    lock = os.open(f"{directory}.replacing", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
