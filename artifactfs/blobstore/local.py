"""A store in a local directory: files that appear whole, once, and survive a loss of power.

An object is written under `tmp/`, made durable, and renamed to its key without replacing what is there; then
the directories on the way to it are made durable. A batch does each of these steps for many objects at once.

Used by the repository. Threading: the store and its batches may be shared by threads.

Source: docs/format.md; rename(2), link(2), fsync(2), syncfs(2).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from artifactfs.blobstore.keys import PRUNE_PREFIX
from artifactfs.blobstore.localbatch import LocalBatch
from artifactfs.blobstore.scratch import LockedScratch, sweep
from artifactfs.blobstore.system_disk import SystemDisk
from artifactfs.errors import BlobMissingError, InvalidNameError, RepositoryGoneError, translate_os_error

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
SHOWN: Final = "shown"
"""The file by whose locks mounts say what they show; see `mount.holds`."""
NOT_OBJECTS: Final = (TEMPORARY, LOCK, SHOWN, ASIDE)
FEW_OBJECTS: Final = 16
"""Up to so many objects are synchronised one by one, so that a small change does not wait for everything
that other programs have written to the file system."""


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
            raise self._reading_failed(error, key) from error

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
            raise self._reading_failed(error, key) from error

    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None when there is none."""
        try:
            size = self.disk.find_size(self.path(key))
        except OSError as error:
            raise self._reading_failed(error, key) from error
        if size is None:
            self._check_root()
        return size

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
            if not is_directory or self.disk.has_file(self.path(f"{prefix}{name}")):
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

    def sync_at_once(self, count: int) -> bool:
        """Make everything durable if so many objects are that much; False when each is to be synchronised by itself."""
        return count > FEW_OBJECTS and self.disk.sync_all()

    def sync_names(self, keys: Collection[str]) -> None:
        """Make the names of these objects durable, and those of all directories above them."""
        if self.sync_at_once(len(keys)):
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
        if not self.sync_at_once(len(parents)):
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
        if not found:
            self._check_root()
        return [(name, kind) for name, kind in found if prefix or name not in NOT_OBJECTS]

    def _check_root(self) -> None:
        """Refuse to say that there is nothing where the repository itself is not there any more."""
        if not self.disk.has_root(self.root):
            msg = f"the repository {self.root} is gone: its directory was removed or renamed"
            raise RepositoryGoneError(msg, hint="put it back, or unmount what shows it", subject=self.root)

    def _reading_failed(self, error: OSError, key: str) -> Exception:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self._check_root()
            msg = f"the repository has no object {key}"
            return BlobMissingError(msg, hint="it was deleted or never copied here", subject=key)
        return translate_os_error(error, doing=f"reading {key}", subject=key)


def _parents(key: str) -> Iterator[str]:
    while key:
        key = key.rpartition("/")[0]
        yield key
