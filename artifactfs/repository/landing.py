"""The directory into which a version is checked out: made step by step from one descriptor, never through a link.

Whatever a version contains, nothing outside the destination is touched: each directory is opened by one name from
the one above it, links refused. A file is written under a temporary name in a work directory inside the destination
and renamed when it is complete. The work directory says what is being checked out, so that the same call can go on
where a killed one stopped, and another call does not.

Used by checkout. Threading: a Landing may be shared by threads once it is open.

Source: openat(2), renameat(2), flock(2).
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from artifactfs.errors import AlreadyExistsError, ArtifactFSError, BusyError, translate_os_error
from artifactfs.paths import printable, split_path

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from types import TracebackType

WORK_NAME: Final = b".artifactfs-get"
_REQUEST: Final = "request"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Landing:
    """A destination directory. A context manager; may be shared by threads.

    Args:
        destination: absolute local path; missing, empty, or left by an unfinished call with the same request.
        request: what is being checked out, as one line.
        taken: names that the version has at its root, which the work directory must not have.

    Attributes (once open):
        resumed: whether an unfinished call left something.
        is_new: whether the destination did not exist before.
    """

    def __init__(self, destination: bytes, *, request: str, taken: Container[bytes]) -> None:
        self._destination = destination
        self._request = request
        self._work_name = WORK_NAME
        while self._work_name in taken:
            self._work_name += b"_"
        self._root = self._work = self._lock = -1
        self._numbers = itertools.count()
        self.resumed = False
        self.is_new = False

    def __enter__(self) -> Self:
        """Open or make the destination and the work directory in it.

        Raises:
            AlreadyExistsError: the destination has something in it, or is no directory.
            BusyError: another process is at it.
            AccessDeniedError, StorageFullError, ReadOnlyError: the system refused.
        """
        try:
            self._open()
        except OSError as error:
            self.close()
            raise self.failed(error) from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close. What was not finished stays, so that it can go on."""
        self.close()

    def close(self) -> None:
        """Release the destination."""
        for descriptor in (self._lock, self._work, self._root):
            if descriptor >= 0:
                os.close(descriptor)
        self._root = self._work = self._lock = -1

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """Descriptors of the destination, of the work directory, and of the lock that lasts as long as any of it."""
        return self._root, self._work, self._lock

    @contextmanager
    def directory(self, path: bytes) -> Iterator[int]:
        """Give a descriptor of a directory in the destination; b"" is the destination itself."""
        current = os.dup(self._root)
        try:
            for name in split_path(path):
                below = os.open(name, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)

    def make_directory(self, parent: int, name: bytes) -> None:
        """Make a directory, or make one that an unfinished call left usable again."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            _make_usable(parent, name)

    @contextmanager
    def new_file(self, parent: int, name: bytes) -> Iterator[int]:
        """Give a descriptor of a new file, which appears as `name` when this ends well."""
        temporary = self._temporary()
        descriptor = os.open(temporary, _NEW_FILE, 0o600, dir_fd=self._work)
        try:
            try:
                yield descriptor
            finally:
                os.close(descriptor)
            os.rename(temporary, name, src_dir_fd=self._work, dst_dir_fd=parent)
        except BaseException:
            os.unlink(temporary, dir_fd=self._work)
            raise

    def make_hard_link(self, parent: int, name: bytes, *, source: int) -> None:
        """Make another name of an open file."""
        temporary = self._temporary()
        os.link(f"/proc/self/fd/{source}", temporary, dst_dir_fd=self._work, follow_symlinks=True)
        os.rename(temporary, name, src_dir_fd=self._work, dst_dir_fd=parent)

    def make_link(self, parent: int, name: bytes, *, target: bytes, mtime_ns: int) -> None:
        """Make a symbolic link."""
        temporary = self._temporary()
        os.symlink(target, temporary, dir_fd=self._work)
        os.utime(temporary, ns=(mtime_ns, mtime_ns), dir_fd=self._work, follow_symlinks=False)
        os.rename(temporary, name, src_dir_fd=self._work, dst_dir_fd=parent)

    def finish(self, *, mode: int, mtime_ns: int) -> None:
        """Remove the work directory and, if the destination is new, give it its permission bits and time."""
        _empty_directory(self._work)
        os.rmdir(self._work_name, dir_fd=self._root)
        if self.is_new:
            os.fchmod(self._root, mode)
            os.utime(self._root, ns=(mtime_ns, mtime_ns))

    def failed(self, error: OSError, path: bytes = b"") -> ArtifactFSError:
        """Return the error for a system call that failed at an entry path."""
        shown = printable(os.path.join(self._destination, path) if path else self._destination)
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
            msg = f"something else stands at {shown}"
            return AlreadyExistsError(msg, hint="choose another destination, or use --replace", subject=shown)
        return translate_os_error(error, doing=f"writing {shown}", subject=shown)

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._destination), exist_ok=True)
        try:
            os.mkdir(self._destination, 0o700)
            self.is_new = True
        except FileExistsError:
            pass
        self._root = os.open(self._destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        names = {os.fsencode(name) for name in os.listdir(self._root)}
        if names - {self._work_name} and self._work_name not in names:
            msg = f"{printable(self._destination)} is not empty"
            raise AlreadyExistsError(
                msg, hint="choose another destination, or use --replace", subject=printable(self._destination)
            )
        self._open_work(has_more=len(names) > 1)

    def _open_work(self, *, has_more: bool) -> None:
        self.make_directory(self._root, self._work_name)
        self._work = os.open(self._work_name, _DIRECTORY, dir_fd=self._root)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._lock = os.open(_REQUEST, flags, 0o600, dir_fd=self._work)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"another process is writing {printable(self._destination)}"
            raise BusyError(msg, hint="wait for it", subject=printable(self._destination)) from error
        self._check_request(has_more=has_more)
        _empty_directory(self._work, but=_REQUEST)

    def _check_request(self, *, has_more: bool) -> None:
        """Read what the work directory is for, or write it down."""
        found = os.pread(self._lock, 4096, 0).decode("utf-8", "replace")
        wanted = (f"{self._request} new\n", f"{self._request} old\n")
        if found in wanted:
            self.resumed = True
            self.is_new = found == wanted[0]
        elif has_more:
            msg = f"{printable(self._destination)} holds an unfinished copy of something else"
            raise AlreadyExistsError(msg, hint="remove it, or use --replace", subject=printable(self._destination))
        else:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, wanted[not self.is_new].encode(), 0)
            os.fsync(self._lock)

    def _temporary(self) -> str:
        return f"{next(self._numbers)}.new"


def _make_usable(parent: int, name: bytes) -> None:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if status.st_mode & 0o700 == 0o700:
        return
    if not sys.platform.startswith("linux"):
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return
    # chmod(2) follows links; a descriptor of the very directory does not, and needs no permission to read.
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", 0o700)
    finally:
        os.close(descriptor)


def _empty_directory(descriptor: int, *, but: str = "") -> None:
    """Remove the files in a work directory, and the directories with files of workers."""
    for name in os.listdir(descriptor):
        if name == but:
            continue
        try:
            os.unlink(name, dir_fd=descriptor)
        except (IsADirectoryError, PermissionError):
            below = os.open(name, _DIRECTORY, dir_fd=descriptor)
            try:
                _empty_directory(below)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=descriptor)
