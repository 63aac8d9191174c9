"""Tables of bytes to bytes in an LMDB environment, with transactions that last for one call.

What can happen to a transaction is handled here: another process has grown the map, the map is full, all reader slots
are taken by dead processes, the environment was inherited through a fork, the file is damaged. What can happen when
an environment is opened, resized or closed is `handles`' concern.

Used by `index` and `epoch`. Threading: an Environment may be shared by threads.

Source: https://lmdb.readthedocs.io; measured with LMDB 0.9.36.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import lmdb

from artifactfs.errors import ArtifactFSError, BusyError
from artifactfs.index.handles import Settings
from artifactfs.index.lmdb_errors import translate_lmdb_error
from artifactfs.index.open_handles import acquire, release, replace
from artifactfs.index.rows import open_row, seal_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from artifactfs.index.handles import Handle

ATTEMPTS: Final = 64
"""A transaction is begun again this often; each time the map has grown or a dead reader's slot was freed."""

Result = TypeVar("Result")


class Reader:
    """What a transaction can read: one consistent state. Belongs to one call."""

    def __init__(self, txn: Any, tables: dict[str, Any], *, is_sealed: bool) -> None:
        self._txn = txn
        self._tables = tables
        self._is_sealed = is_sealed

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one value, or None."""
        found: bytes | None = self._txn.get(key, db=self._tables[table])
        return _unseal(key, found) if self._is_sealed and found is not None else found

    def get_many(self, table: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that there are."""
        with self._txn.cursor(db=self._tables[table]) as cursor:
            found = cursor.getmulti(keys)
            return {key: _unseal(key, value) for key, value in found} if self._is_sealed else dict(found)


class Writer(Reader):
    """What a write transaction can do. Belongs to one call."""

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set one value."""
        self._txn.put(key, seal_row(key, value) if self._is_sealed else value, db=self._tables[table])

    def put_many(self, table: str, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Set many values; fastest in the order of their keys."""
        if self._is_sealed:
            items = [(key, seal_row(key, value)) for key, value in items]
        with self._txn.cursor(db=self._tables[table]) as cursor:
            cursor.putmulti(items)

    def delete(self, table: str, key: bytes) -> None:
        """Remove a key, if it is there."""
        self._txn.delete(key, db=self._tables[table])

    def clear(self) -> None:
        """Empty all tables."""
        for table in self._tables.values():
            self._txn.drop(table, delete=False)


class Environment:
    """Tables of bytes to bytes in one directory. A context manager; may be shared by threads.

    A transaction must not begin another one. After a fork, the child's first call opens the environment again.
    `is_sealed` keeps each value with a checksum, so that what was written over it is damage and never believed.
    """

    def __init__(
        self,
        directory: str,
        *,
        tables: Sequence[str],
        durable: bool,
        replace_damaged: bool = True,
        is_sealed: bool = False,
    ) -> None:
        self.directory = directory
        self._is_sealed = is_sealed
        self._settings = Settings(tuple(tables), durable, replace_damaged)
        self._handle: Handle | None = None

    def __enter__(self) -> Self:
        """Open."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def open(self) -> None:
        """Open the environment; a second call does nothing.

        Raises:
            IndexCorruptError: the file is damaged, and may not or cannot be set aside.
            AccessDeniedError, StorageFullError: the directory cannot be used.
        """
        if self._handle is None:
            self._handle = acquire(self.directory, self._settings)

    def close(self) -> None:
        """Release the environment when transactions have ended; a second call does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            release(handle)

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one value, or None.

        Raises:
            IndexCorruptError: the file is damaged.
        """
        found: bytes | None = self._run(lambda txn, tables: txn.get(key, db=tables[table]), write=False)
        if not self._is_sealed or found is None:
            return found
        try:
            return _unseal(key, found)
        except lmdb.CorruptedError as error:
            raise translate_lmdb_error(error, self.directory) from error

    def read(self, action: Callable[[Reader], Result]) -> Result:
        """Return what `action` returns, run in one read transaction, and perhaps again from the start.

        Raises:
            BusyError: all reader slots are taken.
            IndexCorruptError: the file is damaged.
        """
        sealed = self._is_sealed
        return self._run(lambda txn, tables: action(Reader(txn, tables, is_sealed=sealed)), write=False)

    def write(self, action: Callable[[Writer], Result]) -> Result:
        """Return what `action` returns, run in one write transaction.

        `action` may be run again from the start (after the map has grown), so it must not keep anything. It must
        not hash or wait: there is one writer at a time on the machine.

        Raises:
            IndexCorruptError: the file is damaged.
            StorageFullError: the disk is full; nothing was written.
        """
        sealed = self._is_sealed
        return self._run(lambda txn, tables: action(Writer(txn, tables, is_sealed=sealed)), write=True)

    def items(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Return all keys with this prefix, in order, with their values.

        Only for whoever can lose the process: LMDB aborts where it walks over some kinds of damage.
        """

        def collect(txn: Any, tables: dict[str, Any]) -> list[tuple[bytes, bytes]]:
            cursor = txn.cursor(db=tables[table])
            found: list[tuple[bytes, bytes]] = []
            if cursor.set_range(prefix):
                for key, value in cursor.iternext():
                    if not key.startswith(prefix):
                        break
                    found.append((key, _unseal(key, value) if self._is_sealed else value))
            return found

        return self._run(collect, write=False)

    def replace(self) -> None:
        """Set the environment aside and begin anew: what to do when it was found to be damaged.

        Raises:
            IndexCorruptError, AccessDeniedError, StorageFullError: that failed.
        """
        handle = self._current()
        replace(handle, handle.inode)

    def _run(self, action: Callable[[Any, dict[str, Any]], Result], *, write: bool) -> Result:
        for _ in range(ATTEMPTS):
            handle = self._current()
            handle.gate.enter()
            size = 0
            try:
                handle.check(write=write)
                return _run_once(handle, action, write=write)
            except lmdb.MapResizedError:
                pass  # another process has grown the map: adopt its size
            except lmdb.MapFullError:
                size = handle.env.info()["map_size"] * 2
            except lmdb.ReadersFullError:
                handle.env.reader_check()
                continue
            except lmdb.Error as error:
                raise translate_lmdb_error(error, self.directory) from error
            finally:
                handle.gate.leave()
            handle.resize(size)
        msg = f"the index {self.directory} is in use by too many processes"
        raise BusyError(msg, subject=self.directory)

    def _current(self) -> Handle:
        handle = self._handle
        if handle is None:
            msg = f"the index {self.directory} was closed"
            raise ArtifactFSError(msg, subject=self.directory)
        if handle.pid != os.getpid():
            handle = self._handle = acquire(self.directory, self._settings)
        return handle


def _unseal(key: bytes, data: bytes) -> bytes:
    value = open_row(key, data)
    if value is None:
        msg = "a row is not what was written"
        raise lmdb.CorruptedError(msg)
    return value


def _run_once(handle: Handle, action: Callable[[Any, dict[str, Any]], Result], *, write: bool) -> Result:
    txn = handle.env.begin(write=write)
    try:
        result = action(txn, handle.tables)
    except BaseException:
        if write:
            with handle.gate.last():
                txn.abort()
        else:
            txn.commit()  # the same to LMDB, and does not wait for other threads
        raise
    txn.commit()
    return result
