"""What errors of LMDB mean.

Used by `handles` and `environment`. Threading: pure functions.
"""

from __future__ import annotations

import errno
import os
from typing import Final

import lmdb

from artifactfs.errors import AccessDeniedError, ArtifactFSError, IndexCorruptError, StorageFullError

DAMAGE: Final = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError)


def translate_lmdb_error(error: lmdb.Error, directory: str) -> ArtifactFSError:
    """Return the error of the tree in `errors` that says what an error of LMDB means."""
    if isinstance(error, (lmdb.DiskError, lmdb.MapFullError, lmdb.MemoryError)) or _is_short_write(error, directory):
        msg = f"there is no room for the index {directory}: {error}"
        return StorageFullError(msg, hint="free some space", subject=directory)
    if isinstance(error, lmdb.ReadonlyError):
        msg = f"the index {directory} may not be written to: {error}"
        return AccessDeniedError(msg, hint="check the permissions", subject=directory)
    what = "is damaged" if isinstance(error, DAMAGE) else "cannot be used"
    msg = f"the index {directory} {what}: {error}"
    return IndexCorruptError(msg, hint="run: artifactfs index rebuild", subject=directory)


def _is_short_write(error: lmdb.Error, directory: str) -> bool:
    """Return whether LMDB wrote less than it wanted because the disk is full, which it calls EIO."""
    if os.strerror(errno.EIO) not in str(error):
        return False
    try:
        return os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize < 1 << 20
    except OSError:
        return False
