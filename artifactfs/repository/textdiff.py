"""The lines of text files that differ, as git prints them.

Used by the command line and by `serve`. Threading: functions without state.
"""

from __future__ import annotations

import difflib
import os
import stat
from contextlib import closing
from typing import TYPE_CHECKING, Final

from artifactfs.errors import translate_os_error
from artifactfs.model import FileEntry, SymlinkEntry
from artifactfs.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.model import Entry
    from artifactfs.repository.diff import Change
    from artifactfs.repository.viewing import Viewed

    Read = Callable[[bytes], bytes | None]
    """Returns the bytes of the text file, or the target of the link, at an entry path; None for anything else."""

LIMIT_BYTES: Final = 1 << 20
"""Larger files are not compared line by line."""
_PROBE: Final = 8000
_NO_NEWLINE: Final = b"\\ No newline at end of file\n"
_NOTHING: Final = b"/dev/null"


def iter_lines(change: Change, old: Read, new: Read) -> Iterator[bytes]:
    """Yield the lines of one change, with their ends; `old` and `new` read the two sides.

    What is no text (it has a NUL byte at its beginning, or is over 1 MiB) gives `Binary files ... differ`.
    """
    before_path = change.path if change.old_path is None else change.old_path
    before = old(before_path) if isinstance(change.old, FileEntry | SymlinkEntry) else b""
    after = new(change.path) if isinstance(change.new, FileEntry | SymlinkEntry) else b""
    if before == after and before is not None:
        return
    first = b"a/" + before_path if change.old is not None else _NOTHING
    second = b"b/" + change.path if change.new is not None else _NOTHING
    if before is None or after is None:
        yield b"Binary files %s and %s differ\n" % (first, second)
        return
    yield b"diff --git a/%s b/%s\n" % (before_path, change.path)
    yield from _mode_lines(change)
    for line in difflib.diff_bytes(difflib.unified_diff, _split(before), _split(after), first, second):
        yield line if line.endswith(b"\n") else line + b"\n" + _NO_NEWLINE


def _mode_lines(change: Change) -> Iterator[bytes]:
    """Yield what git says of a file that comes, goes or becomes executable."""
    before, after = (None if entry is None else _git_mode(entry) for entry in (change.old, change.new))
    if before is None:
        yield b"new file mode %s\n" % after
    elif after is None:
        yield b"deleted file mode %s\n" % before
    elif before != after:
        yield b"old mode %s\nnew mode %s\n" % (before, after)


def _git_mode(entry: Entry) -> bytes:
    if isinstance(entry, SymlinkEntry):
        return b"120000"
    return b"100755" if entry.mode & 0o100 else b"100644"


def _split(data: bytes) -> list[bytes]:
    """Return lines with their ends; only a newline ends one, unlike bytes.splitlines."""
    lines = data.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def reading(viewed: Viewed | None) -> Read:
    """Return what reads a version or staging directory; nothing is in None."""
    return lambda path: b"" if viewed is None else _read_viewed(viewed, path)


def reading_below(top: bytes | None) -> Read:
    """Return what reads a directory of this machine; nothing is in None.

    It raises ArtifactFSError for what cannot be read.
    """
    return lambda path: b"" if top is None else _read_local(os.path.join(top, path))


def _read_viewed(viewed: Viewed, path: bytes) -> bytes | None:
    entry = viewed.get_placed(path)[0]
    if isinstance(entry, SymlinkEntry):
        return entry.target
    with closing(viewed.open_file(path)) as file:
        return None if file.size > LIMIT_BYTES else _as_text(file.read_at(0, LIMIT_BYTES))


def _read_local(path: bytes) -> bytes | None:
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return os.readlink(path)
        if found.st_size > LIMIT_BYTES:
            return None
        with open(path, "rb") as file:
            return _as_text(file.read(LIMIT_BYTES))
    except OSError as error:
        raise translate_os_error(error, doing=f"reading {printable(path)}") from error


def _as_text(data: bytes) -> bytes | None:
    return None if b"\0" in data[:_PROBE] else data
