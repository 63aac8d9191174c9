"""Many objects written to a local store at once: each step of making them durable is done for all of them.

Used by `local.py`, which says what the steps are. Threading: a batch may be shared by threads.

Source: docs/format.md; rename(2), fsync(2), syncfs(2).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from artifactfs.blobstore.base import Published
from artifactfs.errors import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.blobstore.local import LocalStore

MANY_OBJECTS: Final = 16_384
"""A batch publishes by itself when it holds so many objects: a killed writer has then something to resume."""


@dataclass(frozen=True, slots=True)
class _Written:
    path: str
    size: int


class LocalBatch:
    """Many objects at once. Threads may share it; one `flush` runs at a time."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._publishing = threading.Lock()
        self._pending: dict[str, _Written] = {}
        self._unnamed: set[str] = set()
        self._damaged: set[str] = set()
        self._unsynced: list[str] = []
        self._published: list[Published] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard what was not flushed."""
        with self._guard:
            paths = [*self._unnamed, *(written.path for written in self._pending.values())]
            self._pending, self._unnamed = {}, set()
        for path in paths:
            self._store.disk.remove(path)

    def write(self, chunks: Iterable[bytes | memoryview]) -> object:
        """Write the bytes of an object that has no name yet, and return a handle for it.

        Raises:
            StorageFullError: there is no room; nothing is left of it.
        """
        written = _Written(*self._store.write_temporary(chunks))
        self._unnamed.add(written.path)
        return written

    def clone(self, descriptor: int) -> tuple[object, ObjectFile] | None:
        """Return a handle for an object that shares the blocks of an open file, and that object, open for reading.

        Raises:
            StorageFullError: there is no room; nothing is left of it.
        """
        made = self._store.clone_temporary(descriptor)
        if made is None:
            return None
        written = _Written(*made)
        self._unnamed.add(written.path)
        return written, self._store.disk.open_file(written.path)

    def name(self, handle: object, key: str) -> None:
        """Decide that this object appears under `key`, at the latest when the batch is flushed."""
        assert isinstance(handle, _Written)
        with self._guard:
            double = self._pending.setdefault(key, handle) is not handle
            self._unnamed.discard(handle.path)
            full = len(self._pending) >= MANY_OBJECTS
        if double:
            self._store.disk.remove(handle.path)
        if full:
            self._publish()

    def reuse(self, key: str, size: int) -> bool:
        """Return whether an object of this size lies, or will lie, under `key`."""
        pending = self._pending.get(key)
        if pending is not None:
            return pending.size == size
        if self._store.find_size(key) != size:
            return False
        with self._guard:
            self._unsynced.append(key)
        return True

    def distrust(self, key: str) -> None:
        """Decide that what lies under `key` now is damaged: an object that gets this name replaces it."""
        with self._guard:
            self._damaged.add(key)

    def discard(self, handle: object) -> None:
        """Forget an object that was written and not named."""
        assert isinstance(handle, _Written)
        self._unnamed.discard(handle.path)
        self._store.disk.remove(handle.path)

    def flush(self) -> list[Published]:
        """Make everything named so far visible and durable; return what appeared since the last call.

        Raises:
            StorageFullError: there is no room; each object is visible as a whole or not at all.
        """
        self._publish()
        with self._publishing:
            try:
                self._sync_names()
            except OSError as error:
                raise translate_os_error(error, doing="storing data in the repository") from error
            published, self._published = self._published, []
        return published

    def _publish(self) -> None:
        with self._publishing:
            with self._guard:
                pending, self._pending = self._pending, {}
            try:
                self._sync_bytes(pending)
                while pending:
                    key, written = next(iter(pending.items()))
                    self._appear(key, written)
                    del pending[key]
            except OSError as error:
                raise translate_os_error(error, doing="storing data in the repository") from error
            finally:
                for written in pending.values():
                    self._store.disk.remove(written.path)

    def _sync_bytes(self, pending: dict[str, _Written]) -> None:
        if self._store.sync_at_once(len(pending)):
            return
        for written in pending.values():
            self._store.disk.sync_file(written.path)

    def _appear(self, key: str, written: _Written) -> None:
        target = self._store.path(key)
        self._store.make_parents(key)
        disk = self._store.disk
        if not disk.rename_new(written.path, target):
            if disk.find_size(target) == written.size and key not in self._damaged:
                disk.remove(written.path)
            else:
                disk.replace(written.path, target)
        self._unsynced.append(key)
        self._published.append(Published(key, disk.find_signature(target)))

    def _sync_names(self) -> None:
        with self._guard:
            keys, self._unsynced = self._unsynced, []
        self._store.sync_names(keys)
