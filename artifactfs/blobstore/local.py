"""A store in a local directory: files that appear whole, once, and survive a loss of power.

An object is written under `tmp/`, made durable, and renamed to its key without replacing what is there; then
the directories on the way to it are made durable. A batch does each of these steps for many objects at once.

Used by the repository. Threading: the store and its batches may be shared by threads.

Source: docs/format.md; rename(2), link(2), fsync(2), syncfs(2).
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from artifactfs.blobstore.base import Published
from artifactfs.blobstore.disk import SystemDisk
from artifactfs.blobstore.keys import PRUNE_PREFIX
from artifactfs.blobstore.scratch import LockedScratch, sweep
from artifactfs.errors import BlobMissingError, InvalidNameError, translate_os_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from types import TracebackType

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.blobstore.disk import Disk
    from artifactfs.blobstore.scratch import Scratch

TEMPORARY: Final = "tmp"
LOCK: Final = "lock"
"""The file that keeps prune and writers apart; see `repository.exclusion`."""
ASIDE: Final = "damaged"
"""Where repair moves damaged objects."""
NOT_OBJECTS: Final = (TEMPORARY, LOCK, ASIDE)
FEW_OBJECTS: Final = 16
"""Up to so many objects are synchronised one by one, so that a small change does not wait for everything
that other programs have written to the file system."""
MANY_OBJECTS: Final = 16_384
"""A batch publishes by itself when it holds so many objects: a killed writer has then something to resume."""


def open_local_store(root: str) -> LocalStore:
    """Return the store in the directory `root`, which must exist."""
    return LocalStore(root, disk=SystemDisk(root), scratch=LockedScratch(f"{root}/{TEMPORARY}"))


class LocalStore:
    """A store in a local directory. A context manager; may be shared by threads."""

    keeps_checksums: Final = False

    def __init__(self, root: str, *, disk: Disk, scratch: Scratch) -> None:
        self.root = root
        self.disk = disk
        self._scratch = scratch
        self._known_directories: set[str] = set()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Remove temporary files, and close."""
        self._scratch.close()
        self.disk.close()

    def read(self, key: str) -> bytes:
        """Return a whole object.

        Raises:
            BlobMissingError: there is none under this key.
        """
        try:
            return self.disk.read_file(self.path(key))
        except OSError as error:
            raise _reading_failed(error, key) from error

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield whole objects in the order of their keys."""
        return map(self.read, keys)

    def open(self, key: str) -> ObjectFile:
        """Return an object, open for reading.

        Raises:
            BlobMissingError: there is none under this key.
        """
        try:
            return self.disk.open_file(self.path(key))
        except OSError as error:
            raise _reading_failed(error, key) from error

    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None when there is none."""
        try:
            return self.disk.find_size(self.path(key))
        except OSError as error:
            raise _reading_failed(error, key) from error

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, which ends in `/` or is empty."""
        for name, is_directory in self._list(prefix):
            if is_directory:
                yield from self.iter_keys(f"{prefix}{name}/")
            else:
                yield prefix + name

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Yield each name that directly follows `prefix` in some key."""
        for name, is_directory in self._list(prefix):
            if not is_directory or any(True for _ in self.iter_keys(f"{prefix}{name}/")):
                yield name

    def find_stamp(self, prefix: str) -> int | None:
        """Return when a name directly below `prefix` last came or went, in nanoseconds; None when there is none.

        Saves listing what did not change. File systems round it: two changes may have one time.
        """
        try:
            return os.stat(self.path(prefix.rstrip("/"))).st_mtime_ns
        except OSError:
            return None

    def create(self, key: str, data: bytes) -> bool:
        """Create an object unless there is one, durably, and return whether this call created it.

        Raises:
            StorageFullError: there is no room; nothing was created.
        """
        try:
            return self._create(key, data)
        except OSError as error:
            raise translate_os_error(error, doing=f"storing {key}", subject=key) from error

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, durably; one that is not there is no error. The directory of a prune goes with its last step.

        Raises:
            AccessDeniedError: one may not be deleted; others may be gone.
        """
        try:
            self._delete(list(keys))
        except OSError as error:
            raise translate_os_error(error, doing="deleting from the repository", subject=self.root) from error

    def sweep(self) -> None:
        """Remove the temporary files of processes that are gone."""
        sweep(f"{self.root}/{TEMPORARY}")

    def begin_batch(self) -> LocalBatch:
        """Return a new batch."""
        return LocalBatch(self)

    def path(self, key: str) -> str:
        """Return the path of the file that holds an object.

        Raises:
            InvalidNameError: the key would leave the store.
        """
        if not key.isascii() or ("." in key and any(part in ("", ".", "..") for part in key.split("/"))):
            msg = f"not the key of an object: {key!r}"
            raise InvalidNameError(msg, subject=key)
        return f"{self.root}/{key}"

    def write_temporary(self, chunks: Iterable[bytes | memoryview]) -> tuple[str, int]:
        """Return path and size of a new temporary file with these bytes."""
        path = self._scratch.new_path()
        try:
            return path, self.disk.create_file(path, chunks)
        except OSError as error:
            raise translate_os_error(error, doing="storing data in the repository", subject=self.root) from error

    def clone_temporary(self, descriptor: int) -> tuple[str, int] | None:
        """Return path and size of a new temporary file that shares the blocks of an open one; None where it cannot."""
        path = self._scratch.new_path()
        try:
            size = self.disk.clone_file(path, descriptor)
        except OSError as error:
            raise translate_os_error(error, doing="storing data in the repository", subject=self.root) from error
        return None if size is None else (path, size)

    def make_parents(self, key: str) -> None:
        """Make the directories above a key."""
        parent = key.rpartition("/")[0]
        if not parent or parent in self._known_directories:
            return
        self.make_parents(parent)
        self.disk.make_directory(f"{self.root}/{parent}")
        self._known_directories.add(parent)

    def sync_names(self, keys: Collection[str]) -> None:
        """Make the names of these objects durable, and those of all directories above them."""
        if len(keys) > FEW_OBJECTS and self.disk.sync_all():
            return
        parents = {parent for key in keys for parent in _parents(key)}
        for parent in sorted(parents, key=len, reverse=True):
            self.disk.sync_directory(f"{self.root}/{parent}" if parent else self.root)

    def _create(self, key: str, data: bytes) -> bool:
        target = self.path(key)
        created = False
        if self.disk.find_size(target) is None:
            temporary, _ = self.write_temporary((data,))
            try:
                self.disk.sync_file(temporary)
                self.make_parents(key)
                created = self.disk.rename_new(temporary, target)
            finally:
                if not created:
                    self.disk.remove(temporary)
        # Also when it exists: whoever made it may not have come to this point yet.
        self.sync_names((key,))
        return created

    def _delete(self, keys: list[str]) -> None:
        for key in keys:
            self.disk.remove(self.path(key))
        # There are no directories above them that could be new.
        parents = {key.rpartition("/")[0] for key in keys}
        if len(parents) <= FEW_OBJECTS or not self.disk.sync_all():
            for parent in sorted(parents):
                with suppress(FileNotFoundError):
                    self.disk.sync_directory(f"{self.root}/{parent}")
        for parent in sorted(parents):
            if parent.startswith(PRUNE_PREFIX):
                self._known_directories.discard(parent)
                self.disk.remove_directory(f"{self.root}/{parent}")

    def _list(self, prefix: str) -> list[tuple[str, bool]]:
        try:
            found = self.disk.list_directory(self.path(prefix.rstrip("/")) if prefix else self.root)
        except OSError as error:
            raise translate_os_error(error, doing=f"listing {prefix or 'the repository'}", subject=prefix) from error
        return [(name, kind) for name, kind in found if prefix or name not in NOT_OBJECTS]


def _parents(key: str) -> Iterator[str]:
    while key:
        key = key.rpartition("/")[0]
        yield key


def _reading_failed(error: OSError, key: str) -> Exception:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        msg = f"the repository has no object {key}"
        return BlobMissingError(msg, hint="it was deleted or never copied here", subject=key)
    return translate_os_error(error, doing=f"reading {key}", subject=key)


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
        if len(pending) > FEW_OBJECTS and self._store.disk.sync_all():
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
