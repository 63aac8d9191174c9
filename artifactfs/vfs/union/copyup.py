"""Copying up: bringing a file or directory of the version into the upper directory, so that it can be changed.

A file is copied into the work directory, made durable there, and appears in the upper one when it is complete: a crash
leaves the file of the version or the whole copy. A directory comes without what is in it. Both keep their inode number,
by a mark. The directory above keeps its times: nothing in it has changed.

Used by the union. Threading: each file is copied once, different files at the same time; the lock on names is held only
at a copy's end.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from artifactfs.model import DirectoryEntry, SymlinkEntry
from artifactfs.repository.copying import Copier as ContentCopier
from artifactfs.staging.files import remove_tree
from artifactfs.staging.marks import NODE_MARK, with_permission
from artifactfs.vfs.union.resolving import directory_of, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.model import FileEntry, ReferenceEntry
    from artifactfs.repository.lower import LowerEntry
    from artifactfs.vfs.union.resolving import Resolver
    from artifactfs.vfs.union.room import Room

_MAY_CHANGE = stat.S_IWUSR | stat.S_IXUSR


class Copier:
    """Copies up. Shared by threads.

    Args:
        resolver: finds paths.
        work: the work directory, on the same file system as the upper one.
        names: the union's lock on names.
        moved_up: called with the path in the version and the one in the upper directory of each file that came up.
        room: how much may still be written.
        will_wait: called before a file is copied, which may take long.
    """

    def __init__(
        self,
        resolver: Resolver,
        work: bytes,
        *,
        names: threading.RLock,
        moved_up: Callable[[bytes, bytes], None],
        room: Room,
        will_wait: Callable[[], None],
    ) -> None:
        self._will_wait = will_wait
        self._room = room
        self._resolver = resolver
        self._work = work
        self._names = names
        self._moved_up = moved_up
        self._numbers = itertools.count()
        self._content = ContentCopier(lambda _: None)
        self._condition = threading.Condition()
        self._copying: set[bytes] = set()
        self._trash: list[bytes] = []

    def new_path(self) -> bytes:
        """Return a path in the work directory that nobody uses."""
        return os.path.join(self._work, b"%d-%d" % (os.getpid(), next(self._numbers)))

    def throw_away(self, path: bytes) -> None:
        """Have something in the work directory removed by the next `empty_trash`."""
        self._trash.append(path)

    def empty_trash(self) -> None:
        """Remove what was thrown away: outside the lock on names, since a directory may hold many whiteouts."""
        while self._trash:
            with suppress(IndexError, OSError):  # another thread was faster; the next start clears the work directory
                self._remove(self._trash.pop())

    def ensure_file(self, path: bytes, *, keep_data: bool = True) -> None:
        """Copy a file, link or directory into the upper directory if it is not there. Not under the lock on names.

        Args:
            path: its entry path.
            keep_data: False when it is about to be cut to nothing: its data is then not copied.

        Raises:
            OSError: ENOENT, ENOTDIR, ENOSPC, EDQUOT; the upper directory is as it was.
            IntegrityError: the data below is missing or damaged.
        """
        while (lower := self._find_lower(path)) is not None:
            if keep_data and not isinstance(lower.entry, DirectoryEntry | SymlinkEntry):
                self._will_wait()
            with self._alone(lower.path):
                if self._find_lower(path) == lower:
                    self._bring_up(path, lower, keep_data=keep_data)

    def ensure_directory(self, path: bytes) -> bytes:
        """Return the path of a directory in the upper directory, making it there if it is not.

        Raises:
            OSError: ENOENT, ENOTDIR, ENOSPC.
        """
        with self._names:
            missing: list[bytes] = []
            above = path
            while not self._resolver.get_directory(above).in_upper:  # ends at the top
                missing.append(above)
                above = above.rpartition(b"/")[0]
            for below in reversed(missing):
                lower = self._resolver.get(below).lower
                if lower is None:
                    raise fail(errno.ENOENT, below)
                temporary = self._make_copy(lower, keep_data=False)
                try:
                    self._place(below, lower, temporary)
                except BaseException:
                    with suppress(OSError):
                        self._remove(temporary)
                    raise
            return self._resolver.upper_path(path)

    def _find_lower(self, path: bytes) -> LowerEntry | None:
        """Return the entry of the version that shows, or None when what shows is in the upper directory."""
        with self._names:
            found = self._resolver.get(path)
            return None if found.in_upper else found.lower

    @contextmanager
    def _alone(self, lower_path: bytes) -> Iterator[None]:
        """Let one thread at a time copy a file."""
        with self._condition:
            self._condition.wait_for(lambda: lower_path not in self._copying)
            self._copying.add(lower_path)
        try:
            yield
        finally:
            with self._condition:
                self._copying.discard(lower_path)
                self._condition.notify_all()

    def _bring_up(self, path: bytes, lower: LowerEntry, *, keep_data: bool) -> None:
        temporary = self._make_copy(lower, keep_data=keep_data)
        try:
            with self._names:
                if self._find_lower(path) != lower:
                    self._remove(temporary)  # removed or replaced while it was copied: that change counts
                    return
                self.ensure_directory(path.rpartition(b"/")[0])
                self._place(path, lower, temporary)
        except BaseException:
            with suppress(OSError):
                self._remove(temporary)
            raise

    def _remove(self, temporary: bytes) -> None:
        with self._room.changing(temporary):
            remove_tree(temporary)

    def _place(self, path: bytes, lower: LowerEntry, temporary: bytes) -> None:
        """Let a copy appear under its name; the directory above keeps its times."""
        upper = self._resolver.upper_path(path)
        above = directory_of(upper)
        before = os.lstat(above)
        with self._room.changing(above, names=1):
            with_permission(above, _MAY_CHANGE, lambda: os.rename(temporary, upper))
        if isinstance(lower.entry, DirectoryEntry):
            # Only now: an ordinary user cannot move a directory that he may not write to.
            os.chmod(upper, lower.entry.mode)
            self._resolver.forget(path)
        else:
            self._moved_up(lower.path, upper)
        os.utime(above, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _make_copy(self, lower: LowerEntry, *, keep_data: bool) -> bytes:
        temporary = self.new_path()
        with self._room.changing(temporary, size=_room_for(lower, keep_data=keep_data)):
            try:
                self._copy(lower, temporary, keep_data=keep_data)
            except BaseException:
                with suppress(OSError):
                    remove_tree(temporary)
                raise
        return temporary

    def _copy(self, lower: LowerEntry, temporary: bytes, *, keep_data: bool) -> None:
        entry = lower.entry
        match entry:
            case SymlinkEntry():
                os.symlink(entry.target, temporary)
            case DirectoryEntry():
                os.mkdir(temporary, 0o700)
                _mark_node(temporary, lower.node)
            case _:
                self._copy_file(entry, lower, temporary, keep_data=keep_data)
        os.utime(temporary, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _copy_file(
        self, entry: FileEntry | ReferenceEntry, lower: LowerEntry, temporary: bytes, *, keep_data: bool
    ) -> None:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _mark_node(descriptor, lower.node)
            if keep_data and entry.size:
                file = self._resolver.lower.open_file(entry, lower.placement)
                try:
                    self._content.copy(file, descriptor)
                finally:
                    file.close()
                # Or a machine that loses power could leave the name, which hides the version's file, without the data.
                os.fdatasync(descriptor)
            os.fchmod(descriptor, entry.mode)
        finally:
            os.close(descriptor)


def _room_for(lower: LowerEntry, *, keep_data: bool) -> int:
    """Return the bytes that a copy takes; a directory takes a block."""
    if isinstance(lower.entry, DirectoryEntry):
        return 1
    return lower.size if keep_data or isinstance(lower.entry, SymlinkEntry) else 0


def _mark_node(file: bytes | int, node: int) -> None:
    """Let a copy go on showing the inode number of the original."""
    with suppress(OSError):
        os.setxattr(file, NODE_MARK, str(node).encode())
