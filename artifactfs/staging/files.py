"""Writing small files so that a crash leaves the old or the new one, and removing trees whatever their permissions.

Used by the modules beside it and by the union. Threading: functions without state.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress

from artifactfs.errors import translate_os_error
from artifactfs.paths import printable


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
    while waiting:
        below = _remove_files(waiting[-1])
        if below:
            waiting += below
        else:
            _remove_one(waiting.pop())


def _remove_files(path: bytes) -> list[bytes]:
    """Remove what is no directory in a directory, and return the directories in it."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            return []
        with suppress(PermissionError):
            os.chmod(path, 0o700)
        with os.scandir(path) as items:
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
