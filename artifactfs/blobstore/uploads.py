"""Many objects at once, for a store that takes each by a request.

Small objects wait in memory, larger ones in a temporary file without a name, until they are sent: an object's name is
the digest of its bytes, so it is known only when all have been read. What is sent is hashed again on its way.

Used by `retrying.py`. Threading: a batch may be shared by threads.
"""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from artifactfs.blobstore.base import Published
from artifactfs.errors import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.blobstore.remote import RemoteObjects

IN_MEMORY: Final = 4 << 20
"""An object up to this size waits in memory and is sent by one request."""
PENDING_SIZE: Final = 64 << 20
PENDING_COUNT: Final = 1024
"""With more than this named, who names the next one sends them all."""


@dataclass(slots=True)
class _Written:
    """The bytes of an object: in memory, or in a file."""

    data: bytes
    file: BinaryIO | None
    size: int

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class UploadBatch:
    """Stores many objects. A context manager; threads may share it.

    Args:
        store: where to; it tries again by itself.
        spool: directory for temporary files; None takes the system's.
        connections: requests at once.
    """

    def __init__(self, store: RemoteObjects, *, spool: str | None, connections: int) -> None:
        self._store = store
        self._spool = spool
        self._connections = connections
        self._guard = threading.Lock()
        self._pending: dict[str, _Written] = {}
        self._pending_size = 0
        self._damaged: set[str] = set()
        self._published: list[Published] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard what was not flushed."""
        for written in self._take().values():
            written.close()

    def write(self, chunks: Iterable[bytes | memoryview]) -> object:
        """Keep the bytes of an object that has no name yet, and return a handle for it.

        Raises:
            StorageFullError: the temporary directory has no room; nothing is left of it.
        """
        parts: list[bytes] = []
        size = 0
        rest = iter(chunks)
        for chunk in rest:
            parts.append(bytes(chunk))
            size += len(chunk)
            if size > IN_MEMORY:
                return self._write_file(parts, rest)
        return _Written(b"".join(parts), None, size)

    def clone(self, descriptor: int) -> tuple[object, ObjectFile] | None:
        """Return None: there are no blocks to share."""

    def name(self, handle: object, key: str) -> None:
        """Decide that this object appears under `key`, at the latest when the batch is flushed."""
        assert isinstance(handle, _Written)
        with self._guard:
            double = self._pending.setdefault(key, handle) is not handle
            self._pending_size += 0 if double else handle.size
            full = self._pending_size > PENDING_SIZE or len(self._pending) > PENDING_COUNT
        if double:
            handle.close()
        if full:
            self._send(self._take())

    def reuse(self, key: str, size: int) -> bool:
        """Return whether an object of this size lies, or will lie, under `key`."""
        pending = self._pending.get(key)
        return (pending.size if pending is not None else self._store.find_size(key)) == size

    def distrust(self, key: str) -> None:
        """Decide that what lies under `key` now is damaged: an object that gets this name replaces it."""
        with self._guard:
            self._damaged.add(key)

    def discard(self, handle: object) -> None:
        """Forget an object that was written and not named."""
        assert isinstance(handle, _Written)
        handle.close()

    def flush(self) -> list[Published]:
        """Send everything named so far; return what appeared since the last call.

        Raises:
            RemoteError, StorageFullError: some were not stored; each is there as a whole or not at all.
        """
        self._send(self._take())
        with self._guard:
            published, self._published = self._published, []
        return published

    def _take(self) -> dict[str, _Written]:
        with self._guard:
            pending, self._pending, self._pending_size = self._pending, {}, 0
        return pending

    def _send(self, pending: dict[str, _Written]) -> None:
        if not pending:
            return
        executor = ThreadPoolExecutor(min(self._connections, len(pending)), "upload")
        try:
            tasks = [executor.submit(self._store_one, key, written) for key, written in pending.items()]
            for task in tasks:
                task.result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            for written in pending.values():
                written.close()
        with self._guard:
            self._published += [Published(key, b"") for key in pending]

    def _store_one(self, key: str, written: _Written) -> None:
        is_damaged = key in self._damaged
        if written.file is not None:
            if is_damaged or self._store.find_size(key) != written.size:
                self._store.upload(key, written.file, written.size)
        elif is_damaged or (not self._store.create(key, written.data) and self._store.find_size(key) != written.size):
            self._store.replace(key, written.data)

    def _write_file(self, parts: list[bytes], rest: Iterable[bytes | memoryview]) -> _Written:
        try:
            file = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115 (closed when it was sent or discarded)
        except OSError as error:
            raise translate_os_error(error, doing="keeping data until it is sent", subject=self._spool or "") from error
        size = 0
        try:
            for source in (parts, rest):
                for chunk in source:
                    size += file.write(chunk)
            file.flush()
        except OSError as error:
            file.close()
            raise translate_os_error(error, doing="keeping data until it is sent", subject=self._spool or "") from error
        except BaseException:
            file.close()
            raise
        return _Written(b"", file, size)
