"""Walking local directories: what is there, in name order, without what is left out.

Links are not followed. Sockets, FIFOs and devices are collected, so that all of them can be named at once. A file
system that changes meanwhile gives an error, never half a listing.

Used by put and verify. Threading: a Scanner belongs to one thread.

Source: scandir is readdir(3) with lstat(2).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import AlreadyExistsError, SourceChangedError, UsageError, translate_os_error
from artifactfs.model import limit_time_ns
from artifactfs.paths import check_name, join_path, printable
from artifactfs.repository.ignore import IGNORE_FILE, Ignored
from artifactfs.repository.sources import Given, Planned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from artifactfs.errors import ArtifactFSError

SHOWN: Final = 20
PLAIN_MODE = 0o755
"""Permission bits of a directory that no local directory stands for."""


@dataclass(slots=True)
class Found:
    """Something in a directory.

    Attributes:
        name: its name in the version.
        path: its entry path.
        local: its local path; b"" for a directory that sources lay out and that exists nowhere.
        status: what lstat(2) says; None for such a directory.
        planned: of a directory, what lies in it.
        given: an entry that is taken as it is.
    """

    name: bytes
    path: bytes
    local: bytes
    status: os.stat_result | None
    planned: Planned | None = None
    given: Given | None = None


@dataclass(slots=True)
class Listing:
    """One directory.

    Attributes:
        found: what is in it, in name order; looked at one by one, so that a large directory needs little memory.
        ignored: what is left out in its directories.
        mode: permission bits.
        mtime_ns: modification time; None for a directory that exists nowhere.
        local: the local directory; b"" if there is none.
    """

    found: Iterable[Found]
    ignored: Ignored
    mode: int
    mtime_ns: int | None
    local: bytes


class Scanner:
    """Lists directories, and remembers what cannot be stored. Belongs to one thread.

    Attributes:
        special: entry paths of sockets, FIFOs and devices that were met.
        kinds: what each of them is.
    """

    def __init__(self, *, forbidden: tuple[int, int] | None = None, reads_ignore_files: bool = True) -> None:
        """Store the device and inode of a directory that must not be met, and whether ignore files count."""
        self._forbidden = forbidden
        self._reads_ignore_files = reads_ignore_files
        self.special: list[bytes] = []
        self.kinds: dict[bytes, str] = {}

    def list_directory(self, planned: Planned, path: bytes, ignored: Ignored) -> Listing:
        """Return what is in a planned directory.

        Raises:
            AlreadyExistsError: a name comes from two sources.
            SourceChangedError: a directory vanished, or was replaced by something else.
            AccessDeniedError: one may not be read.
            NameTooLongError: a path is longer than the system takes.
            UsageError: the repository itself lies there.
        """
        if planned.is_plain:
            return self._list_plain(planned, path, ignored)
        status: os.stat_result | None = None
        names: dict[bytes, Found] = {}
        for local in planned.contents:
            seen = self._check_directory(local)
            status = status or seen
            if self._reads_ignore_files:
                ignored = self._enter(local, path, ignored)
            self._list_local(local, path, planned.hidden, names)
        for name, child in planned.children.items():
            if name not in names and isinstance(child, Planned) and child.only_hides:
                continue
            names[name] = self._merge(names.get(name), name, path, child)
        found = [names[name] for name in sorted(names) if self._is_wanted(names[name], ignored)]
        mode, mtime_ns = _find_mode_and_time(planned, status)
        return Listing(found, ignored, mode, mtime_ns, planned.contents[0] if planned.contents else b"")

    def _list_plain(self, planned: Planned, path: bytes, ignored: Ignored) -> Listing:
        """Return what is in one local directory."""
        local = planned.contents[0]
        status = self._check_directory(local)
        if self._reads_ignore_files:
            ignored = self._enter(local, path, ignored)
        try:
            names = [name for name in os.listdir(local) if name not in planned.hidden]
        except OSError as error:
            raise source_failed(error, local) from error
        names.sort()
        return Listing(self._iter_plain(local, path, names, ignored), ignored, *_mode_and_time(status), local)

    def _iter_plain(self, local: bytes, path: bytes, names: list[bytes], ignored: Ignored) -> Iterator[Found]:
        parent, prefix = os.path.join(local, b""), path + b"/" if path else b""
        for name in names:
            file = parent + name
            status = _lstat(file)
            planned = Planned([file]) if stat.S_ISDIR(status.st_mode) else None
            found = Found(name, prefix + name, file, status, planned)
            if self._is_wanted(found, ignored):
                yield found

    def _check_directory(self, local: bytes) -> os.stat_result:
        try:
            status = os.lstat(local)
        except OSError as error:
            raise source_failed(error, local) from error
        if not stat.S_ISDIR(status.st_mode):
            msg = f"the directory {printable(local)} was replaced while it was read"
            raise SourceChangedError(msg, hint="try again when nothing writes to it", subject=os.fsdecode(local))
        if (status.st_dev, status.st_ino) == self._forbidden:
            msg = f"the repository itself lies in what is to be stored, at {printable(local)}"
            raise UsageError(msg, hint="leave it out with --exclude", subject=os.fsdecode(local))
        return status

    def _enter(self, local: bytes, path: bytes, ignored: Ignored) -> Ignored:
        file = os.path.join(local, IGNORE_FILE)
        try:
            with open(file, "rb") as opened:
                return ignored.enter(opened.read(), path)
        except (FileNotFoundError, IsADirectoryError):
            return ignored
        except OSError as error:
            raise source_failed(error, file) from error

    def _list_local(self, local: bytes, path: bytes, hidden: set[bytes], names: dict[bytes, Found]) -> None:
        try:
            with os.scandir(local) as entries:
                for entry in entries:
                    if entry.name in hidden:
                        continue
                    if entry.name in names:
                        raise _double(join_path(path, entry.name), entry.path)
                    status = entry.stat(follow_symlinks=False)
                    planned = Planned([entry.path]) if stat.S_ISDIR(status.st_mode) else None
                    names[entry.name] = Found(entry.name, join_path(path, entry.name), entry.path, status, planned)
        except OSError as error:
            raise source_failed(error, local) from error

    def _merge(self, there: Found | None, name: bytes, path: bytes, child: Planned | Given | bytes) -> Found:
        below = join_path(path, check_name(name))
        if isinstance(child, bytes):
            if there is not None:
                raise _double(below, child)
            return Found(name, below, child, _lstat(child))
        if isinstance(child, Given):
            if there is not None:
                raise _double(below, there.local)
            return Found(name, below, b"", None, None, child)
        if there is None:
            return Found(name, below, b"", None, child)
        if there.planned is None or child.contents or child.taken is not None:
            raise _double(below, child.contents[0] if child.contents else there.local)
        return Found(
            name, below, there.local, there.status, Planned(there.planned.contents, child.children, child.hidden)
        )

    def _is_wanted(self, found: Found, ignored: Ignored) -> bool:
        if ignored.leaves_out(found.path, is_directory=found.planned is not None):
            return False
        if found.planned is None and found.status is not None:
            kind = find_special(found.status.st_mode)
            if kind is not None:
                self.special.append(found.path)
                self.kinds[found.path] = kind
                return False
        return True


def source_failed(error: OSError, local: bytes) -> ArtifactFSError:
    """Return the error for a local path that was listed before and cannot be read now."""
    shown = printable(local)
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        msg = f"{shown} vanished while it was read"
        return SourceChangedError(msg, hint="try again when nothing writes to it", subject=os.fsdecode(local))
    return translate_os_error(error, doing=f"reading {shown}", subject=os.fsdecode(local))


def _find_mode_and_time(planned: Planned, status: os.stat_result | None) -> tuple[int, int | None]:
    if status is not None:
        return _mode_and_time(status)
    if planned.taken is not None:
        return planned.taken.mode, planned.taken.mtime_ns
    return PLAIN_MODE, None if planned.children else planned.mtime_ns


def _mode_and_time(status: os.stat_result) -> tuple[int, int]:
    return status.st_mode & 0o777, limit_time_ns(status.st_mtime_ns)


def _lstat(local: bytes) -> os.stat_result:
    try:
        return os.lstat(local)
    except OSError as error:
        raise source_failed(error, local) from error


def refuse_special(kinds: Mapping[bytes, str], *, hint: str) -> UsageError:
    """Return the error that names what cannot be stored: entry paths, and what each of them is."""
    lines = [f"{printable(path)} ({kinds[path]})" for path in sorted(kinds)]
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    msg = f"cannot store {', '.join(lines[:SHOWN])}{more}"
    return UsageError(msg, hint=hint, subject=printable(min(kinds)))


def find_special(mode: int) -> str | None:
    """Return what a file is that cannot be stored, or None for all others."""
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISFIFO(mode):
        return "FIFO"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "device"
    return None


def _double(path: bytes, local: bytes) -> AlreadyExistsError:
    msg = f"{printable(path)!r} would be there twice; one of them is {printable(local)}"
    return AlreadyExistsError(msg, hint="leave one of them out with --exclude", subject=os.fsdecode(local))
