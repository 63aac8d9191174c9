"""One open LMDB environment, with the traps of opening one handled in one place.

- The map may only be resized while no thread is in a transaction, and closed likewise: a gate sees to that.
- py-lmdb 3.0 lets an abort wait until no thread is inside any call, which busy readers can delay for ever: the gate
  keeps new ones out meanwhile.
- The lock file is written to through memory: its blocks are taken first (`lockfile`).
- A file that is cut short would end the process with SIGBUS when a page beyond its end is read: it is measured first.
- Whatever somebody does to the files of an open environment is noticed before the next transaction (`soundness`).
- A damaged environment is set aside, and a new one begun, by one process at a time.

Used by `open_handles` and `environment`. Threading: everything here may be shared by threads.

Source: https://lmdb.readthedocs.io; mdb_env_set_mapsize and mdb_env_close in lmdb.h; measured with LMDB 0.9.36.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import lmdb

from artifactfs.errors import StorageFullError, translate_os_error
from artifactfs.index.gate import Gate
from artifactfs.index.lmdb_errors import DAMAGE, translate_lmdb_error
from artifactfs.index.lockfile import allocate_lock
from artifactfs.index.soundness import DATA_FILE, Soundness

if TYPE_CHECKING:
    from collections.abc import Iterator

MAP_SIZES: Final = (1 << 36, 1 << 33, 1 << 30)
"""Address space for the map, largest first: where memory limits refuse one, the next is tried."""
MAX_READERS: Final = 1024

_log = logging.getLogger(__name__)


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
        self._folder = 0
        self._soundness: Soundness | None = None

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
            except DAMAGE:
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
            self.shut()
            try:
                self.leave()
            except OSError as error:
                msg = f"setting the index {self.directory} aside"
                raise translate_os_error(error, doing=msg, subject=self.directory) from error
            self.open()

    def leave(self) -> None:
        """Set aside the directory that is open, unless another process has replaced it already."""
        with _replacing(self.directory):
            if self._folder == _find_inode_of(self.directory):
                _set_aside(self.directory)

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
                self.shut()
                self.open()
                msg = f"the index {self.directory} is full and cannot grow: {error}"
                raise StorageFullError(msg, hint="run: artifactfs index rebuild", subject=self.directory) from error

    def close(self) -> None:
        """Close when the last transaction has ended."""
        with self.gate.alone():
            self.shut()

    def shut(self) -> None:
        """Close; for whoever is alone, or has only inherited it.

        Not where the lock file was damaged: LMDB writes into it then, and could end the process. Such an environment
        stays open for good; it is kept from being freed, too, which closes it.
        """
        soundness, self._soundness = self._soundness, None
        if soundness is None or soundness.may_close():
            self.env.close()
        else:
            _log.warning("the lock file of the index %s was changed: it stays mapped", self.directory)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.env))
        if soundness is not None:
            soundness.close()

    def check(self, *, write: bool) -> None:
        """Return when a transaction may begin.

        Raises:
            lmdb.CorruptedError: somebody has changed the files below.
        """
        if self._soundness is not None:
            self._soundness.check(always=write)

    def _open_once(self) -> None:
        allocate_lock(self.directory, MAX_READERS)
        soundness = Soundness(self.directory)
        try:
            env = _open_with_largest_map(self.directory, self.settings)
        except BaseException:
            soundness.close()
            raise
        try:
            inode = find_inode(self.directory)
            _check_length(env, self.directory)
            env.reader_check()
            tables = _open_tables(env, self.settings.tables)
            soundness.begin(page_size=env.stat()["psize"], last=env.info()["last_txnid"])
        except BaseException:
            env.close()
            soundness.close()
            raise
        self.env, self.tables, self.inode, self._soundness = env, tables, inode, soundness
        self._folder = _find_inode_of(self.directory)

    def _open_anew(self) -> None:
        with _replacing(self.directory):
            try:
                self._open_once()  # another process may have replaced it meanwhile
            except DAMAGE as error:
                _log.warning("the index %s is damaged (%s): it is set aside and built anew", self.directory, error)
                _set_aside(self.directory)
                self._open_once()


def find_inode(directory: str) -> int:
    """Return the inode of the environment's data file, or 0 when there is none."""
    return _find_inode_of(os.path.join(directory, DATA_FILE))


def _find_inode_of(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _open_with_largest_map(directory: str, settings: Settings) -> Any:
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
