"""What mounts show, as locks on bytes of one file in a local repository, so that prune finds them wherever they run.

    <repository>/shown       empty; made by the first who needs it

A server holds locks on it for as long as it lives, whichever user, runtime directory or container it belongs to; the
system gives them back when it is killed. Reading the file is enough. Where a byte is says what it means:

    versions     a version that is shown, by a hash of its name
    mounts       a mount of the whole repository is up: it is to be asked who stands where
    questions    a prune that asks; it opens the file once more, which wakes the servers up (inotify)
    answers      a mount has answered a question: it holds the versions in which processes stand now

Locks are of open file descriptions (F_OFD_SETLK): children share them, and flock(2) of others is not touched.

Used by servers (`daemon`, `keeper`), and by `shown` for prune. Threading: a Holds belongs to one thread at a time.

Source: fcntl_locking(2), inotify(7).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import struct
import sys
import weakref
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.local import SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_log = logging.getLogger(__name__)
_AREA_BITS: Final = 60
_VERSIONS, _MOUNTS, _QUESTIONS, _ANSWERS = (number << _AREA_BITS for number in range(4))
_FLOCK: Final = struct.Struct("hhqqi0q")


class Holds:
    """An open file description with locks; whoever makes it can be found by others, and not by itself.

    Threading: one thread at a time; children of a fork share it.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over a descriptor of the file."""
        self.descriptor = descriptor
        self._finalizer = weakref.finalize(self, os.close, descriptor)

    def close(self) -> None:
        """Give all locks back, unless another process shares them."""
        self._finalizer()

    def hold(self, versions: Iterable[tuple[str, int]]) -> None:
        """Hold versions, by collection and number."""
        for version in versions:
            self._lock(_version_byte(version))

    def release(self, versions: Iterable[tuple[str, int]]) -> None:
        """Hold versions no longer."""
        for version in versions:
            self._unlock(_version_byte(version))

    def is_held(self, version: tuple[str, int]) -> bool:
        """Return whether another one holds a version."""
        return self._is_locked(_version_byte(version))

    def announce(self, mount: int) -> None:
        """Say that a mount is up; `mount` is from `number_of`."""
        self._lock(_MOUNTS + mount)

    def find_mounts(self) -> set[int]:
        """Return the mounts of others that are up."""
        return set(self._iter_locked(_MOUNTS))

    def ask(self, question: int) -> None:
        """Ask all mounts, and wake them up."""
        self._lock(_QUESTIONS + question)
        os.close(os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC))

    def find_questions(self) -> set[int]:
        """Return what others ask now."""
        return set(self._iter_locked(_QUESTIONS))

    def answer(self, question: int, mount: int) -> None:
        """Say that a mount holds what it shows."""
        self._lock(_answer_byte(question, mount))

    def forget(self, question: int, mount: int) -> None:
        """Take an answer back."""
        self._unlock(_answer_byte(question, mount))

    def is_answered(self, question: int, mount: int) -> bool:
        """Return whether a mount has answered."""
        return self._is_locked(_answer_byte(question, mount))

    def _lock(self, byte: int) -> None:
        self._call(fcntl.F_OFD_SETLK, fcntl.F_RDLCK, byte, 1)

    def _unlock(self, byte: int) -> None:
        self._call(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, byte, 1)

    def _is_locked(self, byte: int) -> bool:
        return self._find(byte, byte + 1) is not None

    def _iter_locked(self, area: int) -> Iterator[int]:
        """Yield what is locked in an area: the system tells of one lock at a time, in no order."""
        ranges = [(area, area + (1 << _AREA_BITS))]
        while ranges:
            start, end = ranges.pop()
            found = self._find(start, end) if start < end else None
            if found is not None:
                first, after = found
                yield first - area
                ranges += [(start, first), (after, end)]

    def _find(self, start: int, end: int) -> tuple[int, int] | None:
        """Return begin and end of a lock of another one in a range."""
        kind, _, first, length, _ = self._call(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, start, end - start)
        return None if kind == fcntl.F_UNLCK else (max(first, start), first + length if length else end)

    def _call(self, command: int, kind: int, start: int, length: int) -> tuple[int, int, int, int, int]:
        found = fcntl.fcntl(self.descriptor, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        return _FLOCK.unpack(found)


def open_holds(location: str) -> Holds | None:
    """Return a new description of a repository's file; None where there is none, or no such locks."""
    if sys.platform != "linux" or not os.path.isdir(location):
        return None
    path = os.path.join(location, SHOWN)
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # reading is enough where somebody else made it
        try:
            holds = Holds(os.open(path, flags | os.O_CLOEXEC, 0o666))
            holds.find_questions()
        except OSError as error:
            _log.debug("%s cannot be used: %s", path, error)
        else:
            return holds
    return None


def number_of(*names: str) -> int:
    """Return the number by which something is known in an area."""
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _AREA_BITS)


def _version_byte(version: tuple[str, int]) -> int:
    return _VERSIONS + number_of(version[0], str(version[1]))


def _answer_byte(question: int, mount: int) -> int:
    return _ANSWERS + number_of(str(question), str(mount))
