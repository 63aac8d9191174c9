"""LMDB environments, with the traps of the library handled in one place.

- A process may open an environment once: handles are shared and counted.
- An environment does not survive `fork`: a child that uses an inherited handle opens it again.
- Another process may have grown the map; the map may be full; a killed reader leaves its slot behind.
- A memory map does not belong on a network disk: a local directory is used instead.
- A file that cannot be read is set aside, and a new one begun.

Used by `index` and `epoch`. Threading: an Environment may be shared by threads; transactions last for one call.

Source: https://lmdb.readthedocs.io; measured with lmdb 3.0.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import lmdb

from artifactfs.errors import IndexCorruptError, StorageFullError, translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAP_SIZES: Final = (1 << 36, 1 << 33, 1 << 30)
"""Address space for the map, largest first: where memory limits refuse one, the next is tried."""
MAX_READERS: Final = 1024
LOCAL_FALLBACK: Final = "/var/tmp"  # noqa: S108 (the directory made in it is checked)
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "glusterfs", "beegfs", "gpfs", "afs", "orangefs"}
)
_DAMAGE: Final = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError)
_NO_SUCH_FILE: Final = 2

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class _Handle:
    """One open LMDB environment of this process. Guarded by `_GUARD`."""

    def __init__(self, env: Any, tables: dict[str, Any], *, inode: int) -> None:
        self.env = env
        self.tables = tables
        self.inode = inode
        self.pid = os.getpid()
        self.users = 0


# LMDB itself allows one open per process and file, so what is open is a fact of the process.
_GUARD = threading.Lock()
_OPEN: dict[str, _Handle] = {}


class Environment:
    """Tables of bytes to bytes in one directory. A context manager; may be shared by threads."""

    def __init__(self, directory: str, *, tables: Sequence[str], durable: bool) -> None:
        self.directory = directory
        self._tables = tuple(tables)
        self._durable = durable
        self._handle: _Handle | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @contextmanager
    def reading(self) -> Iterator[Callable[[str, bytes], bytes | None]]:
        """Give a function that gets a value by table and key, from one consistent state.

        Raises:
            IndexCorruptError: the file is damaged.
        """
        with self._transaction(write=False) as (txn, tables):
            yield lambda table, key: txn.get(key, db=tables[table])

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one value, or None.

        Raises:
            IndexCorruptError: the file is damaged.
        """
        with self._transaction(write=False) as (txn, tables):
            found: bytes | None = txn.get(key, db=tables[table])
            return found

    def items(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Return all keys with this prefix, in order, with their values.

        Raises:
            IndexCorruptError: the file is damaged.
        """
        with self._transaction(write=False) as (txn, tables):
            cursor = txn.cursor(db=tables[table])
            found = []
            if cursor.set_range(prefix):
                for key, value in cursor.iternext():
                    if not key.startswith(prefix):
                        break
                    found.append((key, value))
            return found

    def write(self, action: Callable[[Writer], Result]) -> Result:
        """Run `action` in one write transaction, and return what it returns.

        `action` may be run again from the start (after the map has grown), so it must not keep anything. It must
        not hash or wait: there is one writer at a time on the machine.

        Raises:
            IndexCorruptError: the file is damaged.
            StorageFullError: the disk is full; nothing was written.
        """
        while True:
            try:
                with self._transaction(write=True) as (txn, tables):
                    return action(Writer(txn, tables))
            except lmdb.MapFullError:
                self._grow()

    def drop(self) -> None:
        """Empty all tables."""
        with self._transaction(write=True) as (txn, tables):
            for table in tables.values():
                txn.drop(table, delete=False)

    def close(self) -> None:
        """Release the environment; a second call does nothing."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            _release(self.directory, handle)

    def open(self) -> None:
        """Open the environment, if that has not been done in this process; later calls do it by themselves.

        Raises:
            IndexCorruptError: the file is damaged and cannot be set aside.
            AccessDeniedError, StorageFullError: the directory cannot be used.
        """
        self._get_handle()

    def _get_handle(self) -> _Handle:
        handle = self._handle
        if handle is not None and handle.pid == os.getpid():
            return handle
        with self._lock:
            if self._handle is None or self._handle.pid != os.getpid():
                self._handle = _acquire(self.directory, self._tables, durable=self._durable)
            return self._handle

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[tuple[Any, dict[str, Any]]]:
        handle = self._get_handle()
        try:
            txn = _begin(handle.env, write=write)
            with txn:
                yield txn, handle.tables
        except lmdb.DiskError as error:
            msg = f"writing the index {self.directory}: {error}"
            raise StorageFullError(msg, hint="free some space", subject=self.directory) from error
        except _DAMAGE as error:
            msg = f"the index {self.directory} is damaged: {error}"
            raise IndexCorruptError(msg, hint="run: artifactfs index rebuild", subject=self.directory) from error

    def _grow(self) -> None:
        env = self._get_handle().env
        env.set_mapsize(env.info()["map_size"] * 2)


class Writer:
    """What a write transaction can do. Belongs to one call of `Environment.write`."""

    def __init__(self, txn: Any, tables: dict[str, Any]) -> None:
        self._txn = txn
        self._tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one value, or None."""
        found: bytes | None = self._txn.get(key, db=self._tables[table])
        return found

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set one value."""
        self._txn.put(key, value, db=self._tables[table])

    def delete(self, table: str, key: bytes) -> None:
        """Remove a key, if it is there."""
        self._txn.delete(key, db=self._tables[table])


def _begin(env: Any, *, write: bool) -> Any:
    while True:
        try:
            return env.begin(write=write)
        except lmdb.MapResizedError:
            # Another process has grown the map: adopt its size.
            env.set_mapsize(0)
        except lmdb.ReadersFullError:
            env.reader_check()
            return env.begin(write=write)


def _acquire(directory: str, tables: Sequence[str], *, durable: bool) -> _Handle:
    with _GUARD:
        handle = _OPEN.get(directory)
        if handle is not None and handle.pid != os.getpid():
            # Inherited through fork: it belongs to the parent. Closing it here frees only this process's copy.
            handle.env.close()
            handle = None
        if handle is not None and handle.inode != _inode_of(directory):
            handle = None  # the directory was deleted below an open environment, and perhaps made anew
        if handle is None:
            handle = _open_or_replace(directory, tables, durable=durable)
            _OPEN[directory] = handle
        handle.users += 1
        return handle


def _release(directory: str, handle: _Handle) -> None:
    with _GUARD:
        handle.users -= 1
        if handle.users == 0 and handle.pid == os.getpid():
            handle.env.close()
            if _OPEN.get(directory) is handle:
                del _OPEN[directory]


def _inode_of(directory: str) -> int:
    try:
        return os.stat(os.path.join(directory, "data.mdb")).st_ino
    except OSError:
        return 0


def _open_or_replace(directory: str, tables: Sequence[str], *, durable: bool) -> _Handle:
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        try:
            return _open(directory, tables, durable=durable)
        except _DAMAGE as error:
            _log.warning("the index %s is damaged (%s): it is set aside and built anew", directory, error)
            set_aside(directory)
            return _open(directory, tables, durable=durable)
    except _DAMAGE as error:
        msg = f"the index {directory} cannot be opened: {error}"
        raise IndexCorruptError(msg, hint="delete this directory", subject=directory) from error
    except lmdb.Error as error:
        if isinstance(error, lmdb.DiskError):
            msg = f"there is no room for the index {directory}"
            raise StorageFullError(msg, hint="free some space", subject=directory) from error
        msg = f"the index {directory} cannot be opened: {error}"
        raise IndexCorruptError(msg, hint="delete this directory", subject=directory) from error
    except OSError as error:
        raise translate_os_error(error, doing=f"opening the index {directory}", subject=directory) from error


def _open(directory: str, tables: Sequence[str], *, durable: bool) -> _Handle:
    env = _open_with_largest_map(directory, tables, durable=durable)
    try:
        env.reader_check()
        return _Handle(env, {name: env.open_db(name.encode()) for name in tables}, inode=_inode_of(directory))
    except BaseException:
        env.close()
        raise


def _open_with_largest_map(directory: str, tables: Sequence[str], *, durable: bool) -> Any:
    for size in MAP_SIZES:
        try:
            return lmdb.open(
                directory,
                map_size=size,
                max_dbs=len(tables),
                max_readers=MAX_READERS,
                sync=durable,
                metasync=durable,
                readahead=False,
                mode=0o600,
            )
        except lmdb.MemoryError:
            if size == MAP_SIZES[-1]:
                raise
    raise AssertionError  # the last size returns or raises


def set_aside(directory: str) -> None:
    """Move a damaged environment out of the way; one such copy is kept for whoever wants to look at it."""
    kept = f"{directory}.damaged"
    shutil.rmtree(kept, ignore_errors=True)
    os.rename(directory, kept)
    os.makedirs(directory, mode=0o700)


def find_local_directory(directory: str, *, mounts: str = "/proc/self/mounts", uid: int | None = None) -> str:
    """Return `directory`, or, when that is on a network disk, one of this user's under `/var/tmp`.

    Raises:
        IndexCorruptError: the directory under `/var/tmp` belongs to somebody else.
    """
    if not _is_on_network(os.path.realpath(directory), mounts):
        return directory
    owner = os.getuid() if uid is None else uid
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    parent = os.path.join(LOCAL_FALLBACK, f"artifactfs-{owner}")
    os.makedirs(parent, mode=0o700, exist_ok=True)
    status = os.lstat(parent)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077:
        msg = f"{parent} does not belong to you alone"
        raise IndexCorruptError(msg, hint="remove it, or set ARTIFACTFS_STATE to a local directory", subject=parent)
    _log.info("%s is on a network disk: the index is kept under %s", directory, parent)
    return os.path.join(parent, name)


def _is_on_network(path: str, mounts: str) -> bool:
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split() for line in file]
    except OSError:
        return False  # no /proc: macOS
    best, kind = "", ""
    for line in lines:
        point = line[1].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, line[2]
    return kind in _NETWORK or kind.startswith(("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone"))
