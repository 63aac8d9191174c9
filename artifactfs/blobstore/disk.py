"""The few operations of a local file system that a store needs, so that tests can put another disk below.

Every method is one thing that either happened or did not; what survives a loss of power is only what a
`sync_` method was called for afterwards. Paths are absolute.

Used by `local.py`. `system_disk` is the real one; the tests' disk that forgets what was not synced is in
`artifactfs.testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.blobstore.base import ObjectFile

OBJECT_MODE = 0o444
"""Permission bits of an object before the umask: nobody changes one by accident."""


class DiskReads(Protocol):
    """Reading."""

    def read_file(self, path: str) -> bytes:
        """Return all bytes of a file."""

    def open_file(self, path: str) -> ObjectFile:
        """Return a file, open for reading."""

    def find_size(self, path: str) -> int | None:
        """Return the size of a file, or None when there is none."""

    def find_signature(self, path: str) -> bytes:
        """Return the signature that `open_file(path).signature()` would give; b"" when there is no file."""

    def list_directory(self, path: str) -> list[tuple[str, bool]]:
        """Return name and whether it is a directory, for each entry; nothing when there is no directory."""

    def has_root(self, path: str) -> bool:
        """Return whether the directory of the store itself is still there."""

    def has_file(self, path: str) -> bool:
        """Return whether there is a file in a directory, or below it."""


class DiskWrites(Protocol):
    """Changing."""

    def create_file(self, path: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Make a new file with these bytes and return its size; on an error nothing is left of it."""

    def clone_file(self, path: str, descriptor: int) -> int | None:
        """Make a new file that shares the blocks of an open one, and return its size.

        None when the file system cannot do that; nothing is then left of it.
        """

    def make_directory(self, path: str) -> bool:
        """Make a directory and return whether this call made it; the one above must exist."""

    def rename_new(self, source: str, target: str) -> bool:
        """Rename a file unless `target` exists, in one step, and return whether it was renamed."""

    def replace(self, source: str, target: str) -> None:
        """Rename a file over `target` in one step."""

    def remove(self, path: str) -> None:
        """Remove a file; a missing one is not an error."""

    def remove_directory(self, path: str) -> None:
        """Remove a directory if it is there and empty."""


class DiskSyncs(Protocol):
    """Making durable."""

    def sync_file(self, path: str) -> None:
        """Make the bytes of a file durable (not its name)."""

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""

    def sync_all(self) -> bool:
        """Make everything on the file system durable; False when this system cannot."""


class Disk(DiskReads, DiskWrites, DiskSyncs, Protocol):
    """A local file system."""

    def close(self) -> None:
        """Release what it holds."""
