"""The quota of a union: what would exceed it is refused before it happens.

What counts is what the file system allocates for files, links and directories (`staging.quota.measure`), as a project
quota counts it. A change takes room for what it may need at most, and looks at the blocks before and after: what it did
not need is given back, what it freed is taken off. So a change costs two lstat(2) or fstat(2) more. The upper directory
is walked only when there is no room, and the sum may be too high: when it was walked during a change, or when the file
system had allocated a block more for an open file than it keeps.

Used by the union. Threading: shared by all threads.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from artifactfs.staging.quota import measure, measure_below, occupied

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME_BLOCKS: Final = 3
"""So many blocks a directory may grow by for one name: a leaf, and two levels of an index."""
_FREE: Final[AbstractContextManager[None]] = nullcontext()


class Room:
    """How much may still be allocated. Shared by threads.

    Args:
        upper: the upper directory.
        work: the work directory: what is made there counts, too.
        quota: bytes; None for no limit.
    """

    def __init__(self, upper: bytes, work: bytes, quota: int | None) -> None:
        self._upper = upper
        self._work = work
        self._block = os.statvfs(upper).f_frsize
        self._guard = threading.Lock()
        self._open: dict[int, list[int]] = {}
        self._quota: int | None = None
        self._used = 0
        self._taken = 0
        self._walks = 0
        self.limit(quota)
        self._is_sure = True  # nothing was under way

    @property
    def is_limited(self) -> bool:
        """Whether there is a quota."""
        return self._quota is not None

    @property
    def used(self) -> int:
        """What is allocated, as far as it was counted; 0 without a quota."""
        return self._used

    def limit(self, quota: int | None, descriptors: Iterable[int] = ()) -> None:
        """Set another quota.

        Args:
            quota: bytes; None for no limit.
            descriptors: of all open files.
        """
        with self._guard:
            if quota is not None and self._quota is None:
                self._open.clear()
                for descriptor in descriptors:
                    self._add_open(descriptor)
                self._quota = quota  # from here on changes are counted
                self._measure()
                self._is_sure = False  # for those that were under way
            self._quota = quota

    def changing(self, *files: bytes | int, names: int = 0, size: int = 0) -> AbstractContextManager[None]:
        """Count what a change allocates or frees.

        Args:
            files: paths or descriptors of all that grows or shrinks, missing ones too.
            names: how many names are added to a directory.
            size: bytes that are written at most.

        Raises:
            OSError: EDQUOT: there is no room for so much.
        """
        return _FREE if self._quota is None else self._changing(files, names=names, size=size)

    def writing(self, descriptor: int, *, offset: int, size: int) -> AbstractContextManager[int]:
        """Count what a write allocates; give how many of `size` bytes may be written: as many as there is room for.

        Raises:
            OSError: EDQUOT: none.
        """
        return nullcontext(size) if self._quota is None else self._writing(descriptor, offset=offset, size=size)

    def dropping(self, status: os.stat_result | None) -> AbstractContextManager[None]:
        """Count what the removal of a file's name frees; None for no file. Nobody opens it meanwhile."""
        if self._quota is None or status is None or status.st_nlink > 1 or status.st_ino in self._open:
            return _FREE  # who closes it counts
        return self._freeing(occupied(status))

    def note_open(self, descriptor: int) -> None:
        """Note that a file was opened in the upper directory."""
        if self._quota is not None:
            with self._guard:
                self._add_open(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a file, and count what that frees: it may have lost its last name."""
        if self._quota is None:
            os.close(descriptor)
            return
        status, freed = os.fstat(descriptor), 0
        with self._guard:
            walk = self._walks
            others = self._open.get(status.st_ino, [])
            if descriptor in others:
                others.remove(descriptor)
            if not others:
                self._open.pop(status.st_ino, None)
                freed = 0 if status.st_nlink else occupied(status)
                # XFS allocates ahead of the end of a file while it is open: a block of that may have counted.
                self._is_sure &= occupied(status) <= self._rounded(status.st_size)
        os.close(descriptor)
        self._settle(0, -freed, walk)

    @contextmanager
    def _changing(self, files: tuple[bytes | int, ...], *, names: int, size: int) -> Iterator[None]:
        before = _sum_occupied(files)
        wanted = names * NAME_BLOCKS * self._block + self._rounded(size)
        _, walk = self._take(wanted, at_least=wanted)
        try:
            yield
        finally:
            self._settle(wanted, _sum_occupied(files) - before, walk)

    @contextmanager
    def _writing(self, descriptor: int, *, offset: int, size: int) -> Iterator[int]:
        status = os.fstat(descriptor)
        start = offset - offset % self._block
        if occupied(status) >= status.st_size:  # no holes: what lies before the end is allocated
            start = max(start, self._rounded(status.st_size))
        wanted = max(0, self._rounded(offset + size) - start)
        taken, walk = self._take(wanted, at_least=min(wanted, self._rounded(max(0, offset + 1 - start))))
        try:
            yield size if taken == wanted else start + taken - offset
        finally:
            self._settle(taken, occupied(os.fstat(descriptor)) - occupied(status), walk)

    @contextmanager
    def _freeing(self, size: int) -> Iterator[None]:
        walk = self._walks
        yield
        self._settle(0, -size, walk)

    def _take(self, wanted: int, *, at_least: int) -> tuple[int, int]:
        """Take room, and return how much, and the number of the last walk."""
        if not wanted:
            return 0, self._walks
        with self._guard:
            if wanted > self._find_left() and not self._is_sure:
                self._measure()
            left = max(0, self._find_left())
            taken = wanted if wanted <= left else left - left % self._block
            if taken < at_least:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            self._taken += taken
            return taken, self._walks

    def _find_left(self) -> int:
        quota = sys.maxsize if self._quota is None else self._quota
        return quota - self._used - self._taken

    def _settle(self, taken: int, grown: int, walk: int) -> None:
        """Count what a change allocated (or freed, below zero) instead of what it had taken."""
        if not taken and not grown:
            return
        with self._guard:
            self._taken -= taken
            if walk == self._walks:
                self._used += grown
            else:
                # Walked meanwhile: whether that saw the change is not known.
                self._used += max(0, grown)
                self._is_sure = False

    def _measure(self) -> None:
        self._walks += 1
        self._is_sure = True
        self._used = measure(self._upper) + measure_below(self._work)
        for descriptors in self._open.values():
            status = os.fstat(descriptors[0])
            self._used += 0 if status.st_nlink else occupied(status)

    def _add_open(self, descriptor: int) -> None:
        self._open.setdefault(os.fstat(descriptor).st_ino, []).append(descriptor)

    def _rounded(self, size: int) -> int:
        return -(-size // self._block) * self._block


def _sum_occupied(files: tuple[bytes | int, ...]) -> int:
    return sum(_occupied_by(file) for file in files)


def _occupied_by(file: bytes | int) -> int:
    try:
        return occupied(os.fstat(file) if isinstance(file, int) else os.lstat(file))
    except FileNotFoundError:
        return 0
