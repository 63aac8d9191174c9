"""What differs between files, as git prints it, so that `git apply` makes the one out of the other.

A file that becomes a link, or a link a file, is deleted and made; what is in a directory that was renamed is renamed
file by file; empty directories, and permission bits other than the owner's right to execute, git does not know.

Used by the command line and by `serve`. Threading: functions without state.
"""

from __future__ import annotations

import os
import stat
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.errors import translate_os_error
from artifactfs.model import DirectoryEntry, FileEntry, SymlinkEntry
from artifactfs.paths import join_path, printable
from artifactfs.repository.diff import same_content
from artifactfs.repository.hunks import iter_hunks, split_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import Entry
    from artifactfs.repository.diff import Change
    from artifactfs.repository.viewing import Viewed

LIMIT_BYTES: Final = 16 << 20
"""Larger files are not compared line by line."""
_PROBE: Final = 8000
_NOTHING: Final = b"/dev/null"
_ESCAPES: Final = {7: b"a", 8: b"b", 9: b"t", 10: b"n", 11: b"v", 12: b"f", 13: b"r", 34: b'"', 92: b"\\"}


class Unshown(Enum):
    """Why the content of a file is not shown."""

    BINARY = "binary"
    LARGE = "large"


_Content = bytes | Unshown


class Side(Protocol):
    """One of the two that are compared."""

    def read(self, path: bytes) -> _Content:
        """Return the bytes of the text file, or the target of the link, at an entry path."""

    def list_files(self, path: bytes) -> dict[bytes, bytes]:
        """Return the files and links in a directory, at any depth: git's mode by path below it."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file or link on one side: its path and git's mode."""

    path: bytes
    mode: bytes


def iter_lines(change: Change, old: Side, new: Side) -> Iterator[bytes]:
    """Yield the lines of one change, with their ends.

    What is no text (it has a NUL byte at its beginning), or is over 16 MiB, is said to differ.
    """
    before = _as_file(change.path if change.old_path is None else change.old_path, change.old)
    after = _as_file(change.path, change.new)
    if change.kind == "renamed" and isinstance(change.old, DirectoryEntry):
        yield from _iter_renamed(change, old, new)
    elif before is not None and after is not None and before.mode[:3] != after.mode[:3]:
        yield from _iter_one(before, None, old, new, is_same=False)
        yield from _iter_one(None, after, old, new, is_same=False)
    elif before is not None or after is not None:
        is_same = change.old is not None and change.new is not None and same_content(change.old, change.new)
        yield from _iter_one(before, after, old, new, is_same=is_same)


def _iter_renamed(change: Change, old: Side, new: Side) -> Iterator[bytes]:
    assert change.old_path is not None
    modes = new.list_files(change.path)
    for path, mode in sorted(old.list_files(change.old_path).items()):
        before = _File(join_path(change.old_path, path), mode)
        after = _File(join_path(change.path, path), modes.get(path, mode))
        yield from _iter_one(before, after, old, new, is_same=True)


def _iter_one(before: _File | None, after: _File | None, old: Side, new: Side, *, is_same: bool) -> Iterator[bytes]:
    """Yield what git says of one file that comes, goes or changes; nothing when it sees no change."""
    if is_same and before == after:
        return
    first, second = before or after, after or before
    assert first is not None
    assert second is not None
    yield b"diff --git %s %s\n" % (_quote(b"a/" + first.path), _quote(b"b/" + second.path))
    yield from _iter_header(before, after, is_same=is_same)
    if is_same:
        return
    one = b"" if before is None else old.read(before.path)
    other = b"" if after is None else new.read(after.path)
    names = [
        _NOTHING if file is None else _quote(letter + file.path) for letter, file in ((b"a/", before), (b"b/", after))
    ]
    if isinstance(one, bytes) and isinstance(other, bytes):
        if one != other:
            yield from _iter_text(one, other, names)
    elif Unshown.LARGE in (one, other):
        # git takes this line for one of a binary file, and so refuses to apply it.
        yield b"Files %s and %s are too large to show, and differ\n" % tuple(names)
    else:
        yield b"Binary files %s and %s differ\n" % tuple(names)


def _iter_header(before: _File | None, after: _File | None, *, is_same: bool) -> Iterator[bytes]:
    if before is None:
        assert after is not None
        yield b"new file mode %s\n" % after.mode
    elif after is None:
        yield b"deleted file mode %s\n" % before.mode
    else:
        if before.mode != after.mode:
            yield b"old mode %s\nnew mode %s\n" % (before.mode, after.mode)
        if before.path != after.path:
            if is_same:
                yield b"similarity index 100%\n"
            yield b"rename from %s\nrename to %s\n" % (_quote(before.path), _quote(after.path))


def _iter_text(one: bytes, other: bytes, names: list[bytes]) -> Iterator[bytes]:
    for sign, name in zip((b"---", b"+++"), names, strict=True):
        # The end of a name with spaces is marked by a tab.
        yield b"%s %s%s\n" % (sign, name, b"\t" if b" " in name and not name.startswith(b'"') else b"")
    yield from iter_hunks(split_lines(one), split_lines(other))


def _quote(name: bytes) -> bytes:
    """Return a name as git writes it: like a string of C, if it has bytes that need that."""
    if all(32 <= byte < 127 and byte not in _ESCAPES for byte in name):
        return name
    parts = (
        b"\\" + _ESCAPES[byte] if byte in _ESCAPES else b"%c" % byte if 32 <= byte < 127 else b"\\%03o" % byte
        for byte in name
    )
    return b'"' + b"".join(parts) + b'"'


def _as_file(path: bytes, entry: Entry | None) -> _File | None:
    return None if entry is None or isinstance(entry, DirectoryEntry) else _File(path, _git_mode(entry))


def _git_mode(entry: Entry) -> bytes:
    if isinstance(entry, SymlinkEntry):
        return b"120000"
    return b"100755" if entry.mode & 0o100 else b"100644"


class ViewedSide:
    """A version or staging directory; None for nothing. A `Side`; no state."""

    def __init__(self, viewed: Viewed | None) -> None:
        self._viewed = viewed

    def read(self, path: bytes) -> _Content:
        """Return the bytes of the text file, or the target of the link."""
        if self._viewed is None:
            return b""
        entry, place = self._viewed.get_placed(path)
        if isinstance(entry, SymlinkEntry):
            return entry.target
        if not isinstance(entry, FileEntry):
            return Unshown.BINARY  # its content is elsewhere
        with closing(self._viewed.open_entry(path, entry, place)) as file:
            start = file.read_at(0, _PROBE)
            if b"\0" in start:
                return Unshown.BINARY
            if file.size > LIMIT_BYTES:
                return Unshown.LARGE
            return start + file.read_at(len(start), file.size)

    def list_files(self, path: bytes) -> dict[bytes, bytes]:
        """Return the files and links in a directory."""
        if self._viewed is None:
            return {}
        entry, place = self._viewed.get_placed(path)
        assert isinstance(entry, DirectoryEntry)
        below = self._viewed.trees.iter_below(entry, b"", place)
        return {path: _git_mode(each) for path, each in below if not isinstance(each, DirectoryEntry)}


class LocalSide:
    """A directory of this machine; None for nothing. A `Side`; no state.

    It raises ArtifactFSError for what cannot be read.
    """

    def __init__(self, top: bytes | None) -> None:
        self._top = top

    def read(self, path: bytes) -> _Content:
        """Return the bytes of the text file, or the target of the link."""
        if self._top is None:
            return b""
        local = os.path.join(self._top, path)
        try:
            found = os.lstat(local)
            if stat.S_ISLNK(found.st_mode):
                return os.readlink(local)
            with open(local, "rb") as file:
                start = file.read(_PROBE)
                if b"\0" in start:
                    return Unshown.BINARY
                return Unshown.LARGE if found.st_size > LIMIT_BYTES else start + file.read(LIMIT_BYTES)
        except OSError as error:
            raise translate_os_error(error, doing=f"reading {printable(local)}") from error

    def list_files(self, path: bytes) -> dict[bytes, bytes]:
        """Return the files and links in a directory."""
        if self._top is None:
            return {}
        top = os.path.join(self._top, path)
        found: dict[bytes, bytes] = {}
        for folder, directories, names in os.walk(top):
            for name in (*directories, *names):
                local = os.path.join(folder, name)
                mode = os.lstat(local).st_mode
                if not stat.S_ISDIR(mode):
                    git_mode = b"120000" if stat.S_ISLNK(mode) else b"100755" if mode & 0o100 else b"100644"
                    found[os.path.relpath(local, top)] = git_mode
        return found
