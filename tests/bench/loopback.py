"""A bare loopback by fusepy, with threads and large writes as the union has them: what any union in Python pays.

Run as `loopback.py ROOT MOUNTPOINT`.
"""

from __future__ import annotations

import os
import sys

import fuse


class Loopback(fuse.Operations):
    """Each call is the one of the same name on another directory."""

    def __init__(self, root: str) -> None:
        self._root = root

    def __call__(self, op: str, path: str, *args: object) -> object:
        """Put the root before the path."""
        return super().__call__(op, self._root + path, *args)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, object]:
        """Return attributes."""
        found = os.lstat(path)
        return {key: getattr(found, key) for key in dir(found) if key.startswith("st_")}

    def readdir(self, path: str, fh: int) -> list[str]:
        """Return names."""
        return [".", "..", *os.listdir(path)]

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Read."""
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Write."""
        return os.pwrite(fh, data, offset)

    def create(self, path: str, mode: int) -> int:  # type: ignore[override]
        """Make a file."""
        return os.open(path, os.O_WRONLY | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        """Open."""
        return os.open(path, flags)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        """Set the size."""
        os.truncate(path, length)

    def utimens(self, path: str, times: tuple[float, float] | None = None) -> None:
        """Set times."""
        os.utime(path, times)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        """Make durable."""
        os.fsync(fh)

    def release(self, path: str, fh: int) -> None:
        """Close."""
        os.close(fh)

    chmod = os.chmod
    chown = os.lchown
    mkdir = os.mkdir
    rmdir = os.rmdir
    unlink = os.unlink


if __name__ == "__main__":
    fuse.FUSE(Loopback(sys.argv[1]), sys.argv[2], foreground=True, default_permissions=True, big_writes=True)
