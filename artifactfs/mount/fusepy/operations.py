"""What every fusepy file system here has in common: one edge from errors to errno, and nothing offered by default.

fusepy's own `Operations` reports success for flush, fsync, access and utimens without doing anything, turns an
exception that is no `OSError` into EINVAL, and breaks on an `OSError` without errno. `Operations` below
cures all of that: a call that a subclass does not define is not given to libfuse, which then answers ENOSYS (and the
kernel stops asking), and `__call__` is the only place where errors become errno.

Used by `reading` and `writing`.

Threading: libfuse calls from many threads at once; `__call__` keeps nothing.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Any, Final

import fuse

from artifactfs.errors import ArtifactFSError, IndexCorruptError, NotFoundError, ReadOnlyError
from artifactfs.paths import printable

_log = logging.getLogger(__name__)

# Ordinary answers, not worth a line in the log.
_EXPECTED: Final = frozenset({errno.ENOENT, errno.ENODATA, errno.EEXIST, errno.ENOTEMPTY, errno.EROFS})


class Operations:
    """A file system whose calls all take paths and names as bytes; see `Bridge` for their signatures.

    Not a subclass of `fuse.Operations`: fusepy offers to libfuse whatever attributes it finds, and here it finds
    only what a file system defines.

    Threading: called from libfuse's threads.
    """

    use_ns = True

    def __call__(self, operation: str, *args: Any) -> Any:
        """Return what the method `operation` returns.

        Raises:
            fuse.FuseOSError: whatever failed, with an errno that the kernel takes; fusepy hands it on.

        Source: facts of fusepy 3.0.1, `FUSE._wrapper`.
        """
        try:
            try:
                return getattr(self, operation)(*args)
            except IndexCorruptError as error:
                if not self.recover(error):
                    raise
                return getattr(self, operation)(*args)
        except (NotFoundError, ReadOnlyError) as error:
            raise fuse.FuseOSError(error.errno) from None
        except ArtifactFSError as error:
            if error.errno not in _EXPECTED:
                _log.error("%s %s: %s", operation, describe(args), error)
            raise fuse.FuseOSError(error.errno) from None
        except OSError as error:
            raise fuse.FuseOSError(self._errno_of(operation, args, error)) from None
        except BaseException:  # noqa: BLE001  (an exception that crossed into C would be lost)
            _log.exception("%s %s failed unexpectedly", operation, describe(args))
            raise fuse.FuseOSError(errno.EIO) from None

    def recover(self, error: IndexCorruptError) -> bool:
        """Return whether what is damaged was replaced, so that the call can be tried again."""
        del error
        return False

    def _errno_of(self, operation: str, args: tuple[Any, ...], error: OSError) -> int:
        number = error.errno
        if number is None or number <= 0:
            _log.error("%s %s: %s", operation, describe(args), error)
            return errno.EIO
        if number in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            _log.error("%s %s: %s", operation, describe(args), os.strerror(number))
        return number


def describe(args: tuple[Any, ...]) -> str:
    """Return the path among a call's arguments, for the log."""
    return next((printable(value) for value in args if isinstance(value, bytes)), "(no path)")
