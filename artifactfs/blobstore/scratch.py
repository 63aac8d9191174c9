"""Temporary files that vanish with their maker, however it ends.

`tmp/<name>.lock` is held locked (flock(2)) by the process that uses the directory `tmp/<name>/`. A lock that
can be taken belongs to a dead process, and everything of it is removed by whoever looks next. Names are
random, so that one is never used twice.

Used by `local.py`. Threading: may be shared; after a fork the child gets a directory of its own.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_SUFFIX: Final = ".lock"


class Scratch(Protocol):
    """Gives names for temporary files on the file system of a store."""

    def new_path(self) -> str:
        """Return a path at which nothing is, in a directory that exists."""

    def close(self) -> None:
        """Remove what is left."""


class LockedScratch:
    """A directory of temporary files for each process that asks; see the module's description."""

    def __init__(self, parent: str, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._parent = parent
        self._random = random
        self._guard = threading.Lock()
        self._pid = 0
        self._lock = -1
        self._directory = ""
        self._numbers: Iterator[int] = itertools.count()

    def new_path(self) -> str:
        """Return a path at which nothing is, in a directory that exists."""
        if self._pid != os.getpid():
            with self._guard:
                if self._pid != os.getpid():
                    self._begin()
        return f"{self._directory}/{next(self._numbers)}"

    def close(self) -> None:
        """Remove the directory and its lock, unless a fork of another process made them."""
        if self._pid == os.getpid():
            shutil.rmtree(self._directory, ignore_errors=True)
            _unlink(self._directory + LOCK_SUFFIX)
        if self._lock >= 0:
            os.close(self._lock)
        self._pid, self._lock = 0, -1

    def _begin(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)  # a copy made by fork(2); the lock stays with the parent
            self._lock = -1
        os.makedirs(self._parent, exist_ok=True)
        sweep(self._parent)
        while True:
            directory = f"{self._parent}/{os.getpid()}-{self._random(8).hex()}"
            lock = _take_lock(directory + LOCK_SUFFIX)
            if lock is not None:
                break
        os.mkdir(directory)
        self._directory, self._lock, self._numbers = directory, lock, itertools.count()
        self._pid = os.getpid()


def _take_lock(path: str) -> int | None:
    """Return the descriptor of a new lock file, or None when a sweeper was faster than the lock."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        return lock  # a file system without locks: nobody else can take it either, so nothing is swept
    if os.fstat(lock).st_nlink == 0:
        os.close(lock)
        return None
    return lock


def sweep(parent: str) -> None:
    """Remove the temporary files of processes that are gone. What may not be removed is left."""
    try:
        names = os.listdir(parent)
    except OSError:
        return
    locks = {name.removesuffix(LOCK_SUFFIX) for name in names if name.endswith(LOCK_SUFFIX)}
    for name in locks:
        _sweep_one(f"{parent}/{name}")
    for name in names:
        if not name.endswith(LOCK_SUFFIX) and name not in locks and not _exists(f"{parent}/{name}{LOCK_SUFFIX}"):
            shutil.rmtree(f"{parent}/{name}", ignore_errors=True)


def _sweep_one(directory: str) -> None:
    try:
        lock = os.open(directory + LOCK_SUFFIX, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
        _unlink(directory + LOCK_SUFFIX)
    except OSError:
        pass  # its maker lives
    finally:
        os.close(lock)


def _exists(path: str) -> bool:
    return os.path.lexists(path)


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
