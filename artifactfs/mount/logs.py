"""A server's log: a file that is rotated, which also takes what libraries write to standard error.

Used by `daemon`.

Threading: as the standard library's handlers.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from typing import Final

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SIZE_LIMIT: Final = 1 << 20
_KEPT: Final = 4


class ServerLog(RotatingFileHandler):
    """A rotated log file to which standard output and standard error lead.

    Threading: as its base class.
    """

    _captures = False

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        os.fchmod(stream.fileno(), 0o600)
        return stream

    def doRollover(self) -> None:  # noqa: N802
        """Begin a new file, and lead standard output and standard error there too, if they led into the old one."""
        super().doRollover()
        if self._captures:
            self.capture_output()

    def rotate_if_large(self) -> None:
        """Begin a new file if this one has become too large by what other processes wrote."""
        with suppress(OSError):
            if os.stat(self.baseFilename).st_size < self.maxBytes:
                return
            self.acquire()
            try:
                self.doRollover()
            finally:
                self.release()

    def capture_output(self) -> None:
        """Lead file descriptors 1 and 2 into the log, where libfuse and a crash would write."""
        self._captures = True
        if self.stream is None:
            return
        self.stream.flush()
        for descriptor in (1, 2):
            os.dup2(self.stream.fileno(), descriptor)


class _Follower(WatchedFileHandler):
    """Writes to a log that another process rotates, and makes it anew where it was removed.

    Threading: as its base class.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; where that is impossible it is lost, and the caller goes on."""
        with suppress(OSError):
            os.makedirs(os.path.dirname(self.baseFilename), mode=0o700, exist_ok=True)
            super().emit(record)


def follow_log() -> None:
    """Go on writing to the log in a forked process, and leave rotating it to the process that it was forked from."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, ServerLog):
            follower = _Follower(handler.baseFilename, encoding="utf-8", errors="backslashreplace", delay=True)
            follower.setFormatter(handler.formatter)
            root.removeHandler(handler)
            root.addHandler(follower)


def rotate_log() -> None:
    """Rotate the log if forked processes have filled it; to be called now and then by the one that opened it."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, ServerLog):
            handler.rotate_if_large()


def start_log(path: str, *, foreground: bool, debug: bool = False) -> None:
    """Log to `path`, and in the foreground to standard error as well; with `debug`, each request."""
    handler = ServerLog(path, maxBytes=_SIZE_LIMIT, backupCount=_KEPT, encoding="utf-8", errors="backslashreplace")
    handlers: list[logging.Handler] = [handler]
    if foreground:
        handlers.append(logging.StreamHandler(sys.stderr))
    else:
        handler.capture_output()
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format=_FORMAT, handlers=handlers, force=True)
    logging.getLogger("fuse").setLevel(logging.CRITICAL)
