"""Writing small files so that a crash leaves the old or the new one, and removing trees whatever their permissions.

Used by the modules beside it and by the union. Threading: functions without state.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final, Self

from artifactfs.errors import translate_os_error
from artifactfs.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_PATH: Final = 2000
"""A path of so many bytes and one more name is still one that the system takes (PATH_MAX is 4096)."""


class ShortPaths:
    """Names directories by their descriptors where their paths get long; a context manager, which closes these.

    A path in a staging directory may have 4,096 bytes, and its upper directory has a path of its own. All paths that
    begin alike share a descriptor: there may be more of them than a process may open.

    Threading: belongs to one thread. Source: path_resolution(7), proc_pid_fd(5).
    """

    def __init__(self) -> None:
        self._open = ExitStack()
        self._known: dict[bytes, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def inside(self, path: bytes) -> bytes:
        """Return a path of a directory that names in it can be put behind.

        Raises:
            OSError: it is no directory, or gone.
        """
        if len(path) < LONG_PATH:
            return path
        end = path.index(b"/", LONG_PATH // 2)
        above, below = path[:end], path[end:]
        if above not in self._known:
            descriptor = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._open.callback(os.close, descriptor)
            self._known[above] = descriptor
        return b"/proc/self/fd/%d%b" % (self._known[above], below)


def iter_below(path: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the path of everything in a directory, at any depth, and whether it is a directory.

    Each comes before what is in it; a path is good until the iteration ends.

    Raises:
        OSError: something cannot be read.
    """
    with ShortPaths() as short:
        waiting = [path]
        while waiting:
            with os.scandir(short.inside(waiting.pop())) as items:
                found = [(item.path, item.is_dir(follow_symlinks=False)) for item in items]
            waiting += [below for below, is_directory in found if is_directory]
            yield from found


def write_durably(path: bytes, data: bytes) -> None:
    """Replace a file: afterwards it has the new content or the old one, whatever happens.

    Raises:
        StorageFullError: there is no room; the old content stays.
    """
    # A name of its own: a status and a commit may write the same file at the same time.
    temporary = b"%s.%d-%d.new" % (path, os.getpid(), threading.get_ident())
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(os.path.dirname(path))
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise translate_os_error(error, doing=f"writing {printable(path)}") from error


def sync_directory(path: bytes) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: bytes) -> None:
    """Remove a directory with all that is in it, or a file; what is gone already is no error.

    Directories that their owner may not write to or look into are opened first, and the depth does not matter:
    `shutil.rmtree` stops at either.

    Raises:
        OSError: something could not be removed.
    """
    waiting = [path]
    with ShortPaths() as short:
        while waiting:
            below = _remove_files(waiting[-1], short)
            if below:
                waiting += below
            else:
                _remove_one(waiting.pop())


def _remove_files(path: bytes, short: ShortPaths) -> list[bytes]:
    """Remove what is no directory in a directory, and return the directories in it."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            return []
        with suppress(PermissionError):
            os.chmod(path, 0o700)
        with os.scandir(short.inside(path)) as items:
            found = list(items)
    except FileNotFoundError:
        return []
    for item in found:
        if not item.is_dir(follow_symlinks=False):
            _remove_one(item.path)
    return [item.path for item in found if item.is_dir(follow_symlinks=False)]


def _remove_one(path: bytes) -> None:
    with suppress(FileNotFoundError):
        try:
            os.unlink(path)
        except IsADirectoryError:
            os.rmdir(path)
