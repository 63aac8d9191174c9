"""Copying up: bringing a file or directory of the version into the upper directory, so that it can be changed.

A file is copied into the work directory and appears in the upper one when it is complete. A directory comes without
what is in it. Both keep their inode number, by a mark. The directory above keeps its times: nothing in it has changed.

Used by the union. Threading: one copy at a time; the lock on names is held only at its end.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.model import DirectoryEntry, SymlinkEntry
from artifactfs.staging.marks import NODE_MARK
from artifactfs.vfs.union.resolving import fail

if TYPE_CHECKING:
    from artifactfs.model import FileEntry, ReferenceEntry
    from artifactfs.repository.lower import LowerEntry
    from artifactfs.vfs.union.resolving import Resolver

COPY_SIZE = 1 << 20


class Copier:
    """Copies up. Shared by threads; `names` is the union's lock on names."""

    def __init__(self, resolver: Resolver, work: bytes, names: threading.RLock) -> None:
        self._resolver = resolver
        self._work = work
        self._names = names
        self._one_at_a_time = threading.RLock()
        self._numbers = itertools.count()

    def new_path(self) -> bytes:
        """Return a path in the work directory that nobody uses."""
        return os.path.join(self._work, b"%d-%d" % (os.getpid(), next(self._numbers)))

    def ensure_file(self, path: bytes, *, keep_data: bool = True) -> bytes:
        """Return the path of a file in the upper directory, copying it there if it is not.

        Args:
            path: its entry path. It may be of any kind, directories included.
            keep_data: False when it is about to be cut to nothing: its data is then not copied.

        Raises:
            OSError: ENOENT, ENOTDIR, ENOSPC; the upper directory is as it was.
            IntegrityError: the data below is missing or damaged.
        """
        with self._names:
            found = self._resolver.get(path)
            if found.in_upper:
                return self._resolver.upper_path(path)
        with self._one_at_a_time:
            with self._names:
                found = self._resolver.get(path)
                if found.in_upper:
                    return self._resolver.upper_path(path)
            if found.lower is None:
                raise fail(errno.ENOENT, path)
            temporary = self._copy(found.lower, keep_data=keep_data)
            try:
                return self._publish(path, found.lower, temporary)
            except BaseException:
                _remove(temporary)
                raise

    def ensure_directory(self, path: bytes) -> bytes:
        """Return the path of a directory in the upper directory, making it there if it is not.

        Raises:
            OSError: ENOENT, ENOTDIR, ENOSPC.
        """
        with self._names:
            directory = self._resolver.get_directory(path)
            upper = self._resolver.upper_path(path)
            if directory.in_upper or directory.lower is None:
                return upper
            parent = path.rpartition(b"/")[0]
            above = self.ensure_directory(parent)
            before = os.lstat(above)
            entry = directory.lower.entry
            temporary = self.new_path()
            os.mkdir(temporary, 0o700)
            try:
                found = self._resolver.find(path)
                _dress(temporary, entry, found.lower)
                os.rename(temporary, upper)
            except BaseException:
                _remove(temporary)
                raise
            os.utime(above, ns=(before.st_atime_ns, before.st_mtime_ns))
            self._resolver.forget()
            return upper

    def _publish(self, path: bytes, lower: LowerEntry, temporary: bytes) -> bytes:
        with self._names:
            found = self._resolver.get(path)
            upper = self._resolver.upper_path(path)
            if found.in_upper or found.lower is None or found.lower.path != lower.path:
                # Removed or replaced while it was copied: that change counts.
                _remove(temporary)
                return self.ensure_file(path)
            above = self.ensure_directory(path.rpartition(b"/")[0])
            before = os.lstat(above)
            os.rename(temporary, upper)
            os.utime(above, ns=(before.st_atime_ns, before.st_mtime_ns))
            self._resolver.forget()
            return upper

    def _copy(self, lower: LowerEntry, *, keep_data: bool) -> bytes:
        temporary = self.new_path()
        entry = lower.entry
        try:
            match entry:
                case SymlinkEntry():
                    os.symlink(entry.target, temporary)
                    os.utime(temporary, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
                    return temporary
                case DirectoryEntry():
                    os.mkdir(temporary, 0o700)
                case _:
                    self._copy_data(entry, temporary, keep_data=keep_data)
            _dress(temporary, entry, lower)
        except BaseException:
            _remove(temporary)
            raise
        return temporary

    def _copy_data(self, entry: FileEntry | ReferenceEntry, temporary: bytes, *, keep_data: bool) -> None:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if not keep_data or not entry.size:
                return
            file = self._resolver.lower.open_file(entry)
            try:
                offset = 0
                while data := file.read_at(offset, COPY_SIZE):
                    view = memoryview(data)
                    while view:
                        view = view[os.write(descriptor, view) :]
                    offset += len(data)
            finally:
                file.close()
        finally:
            os.close(descriptor)


def _dress(path: bytes, entry: FileEntry | ReferenceEntry | DirectoryEntry, lower: LowerEntry | None) -> None:
    """Give a copy the attributes of the original, its inode number among them."""
    if lower is not None:
        with suppress(OSError):
            os.setxattr(path, NODE_MARK, str(lower.node).encode())
    os.chmod(path, entry.mode)
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))


def _remove(path: bytes) -> None:
    with suppress(OSError):
        try:
            os.unlink(path)
        except IsADirectoryError:
            os.rmdir(path)
