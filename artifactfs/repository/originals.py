"""What a staging directory is taken back to: a version in the repository, or as a mount shows it.

Used by `restoring`. Threading: no state.
"""

from __future__ import annotations

import os
import stat
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from artifactfs.errors import EntryNotFoundError
from artifactfs.model import DirectoryEntry, SymlinkEntry
from artifactfs.repository.trees import Trees
from artifactfs.repository.viewing import Viewed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.model import Entry, Root
    from artifactfs.repository.repository import Repository

Kind = Literal["file", "link", "directory"]
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Item:
    """What a version has at a path; `target` is a link's."""

    name: bytes
    kind: Kind
    mode: int
    mtime_ns: int
    target: bytes = b""


class Original(Protocol):
    """A version, by path."""

    def find(self, path: bytes) -> Item | None:
        """Return what is at a path; None for nothing."""

    def list_directory(self, path: bytes) -> Iterable[Item]:
        """Return what is in a directory."""

    def copy(self, path: bytes, descriptor: int) -> None:
        """Write the content of a file to a descriptor; what is damaged is an error, not content."""


class StoredOriginal:
    """A version in the repository; `root` is None for nothing at all. An `Original`; no state."""

    def __init__(self, repository: Repository, root: Root | None) -> None:
        self._viewed = None if root is None else Viewed("", root, Trees(repository.blobs), None, repository)

    def find(self, path: bytes) -> Item | None:
        """Return what is at a path."""
        if self._viewed is None:
            return None
        try:
            return _as_item(self._viewed.trees.find_placed(self._viewed.root, path)[0])
        except EntryNotFoundError:
            return None

    def list_directory(self, path: bytes) -> Iterable[Item]:
        """Return what is in a directory."""
        assert self._viewed is not None
        entry, place = self._viewed.get_placed(path)
        assert isinstance(entry, DirectoryEntry)
        return [_as_item(each) for each, _ in self._viewed.trees.load_entries(entry, place)]

    def copy(self, path: bytes, descriptor: int) -> None:
        """Write the content of a file, verified."""
        assert self._viewed is not None
        with closing(self._viewed.open_file(path)) as file:
            for offset in range(0, file.size, _BLOCK):
                _write_all(descriptor, file.read_at(offset, _BLOCK))


class ShownOriginal:
    """A version as a mount shows it: `top` is its directory there; None for nothing at all. An `Original`; no state."""

    def __init__(self, top: bytes | None) -> None:
        self._top = top

    def find(self, path: bytes) -> Item | None:
        """Return what is at a path, below directories only: a link on the way leads to nothing of the version."""
        if self._top is None:
            return None
        found = _look(self._top, b"")
        local = self._top
        for name in path.split(b"/") if path else ():
            if found is None or found.kind != "directory":
                return None
            local = os.path.join(local, name)
            found = _look(local, name)
        return found

    def list_directory(self, path: bytes) -> Iterable[Item]:
        """Return what is in a directory."""
        assert self._top is not None
        local = os.path.join(self._top, path)
        return [found for name in os.listdir(local) if (found := _look(os.path.join(local, name), name)) is not None]

    def copy(self, path: bytes, descriptor: int) -> None:
        """Write the content of a file; the mount verifies what it hands out."""
        assert self._top is not None
        with open(os.path.join(self._top, path), "rb", buffering=0) as reading:
            while data := reading.read(_BLOCK):
                _write_all(descriptor, data)


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, or fail: a disk or a quota that fills takes a part first, without an error."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _as_item(entry: Entry) -> Item:
    if isinstance(entry, SymlinkEntry):
        return Item(entry.name, "link", entry.mode, entry.mtime_ns, entry.target)
    return Item(entry.name, "directory" if isinstance(entry, DirectoryEntry) else "file", entry.mode, entry.mtime_ns)


def _look(local: bytes, name: bytes) -> Item | None:
    try:
        found = os.stat(local) if not name else os.lstat(local)
    except FileNotFoundError:
        return None
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return Item(name, "link", mode, found.st_mtime_ns, os.readlink(local))
    return Item(name, "directory" if stat.S_ISDIR(found.st_mode) else "file", mode, found.st_mtime_ns)
