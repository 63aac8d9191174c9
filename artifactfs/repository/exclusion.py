"""How commits and prunes keep out of each other's way.

    with repository.exclusion.writing() as writing:      # before the first object is looked for or stored
        ...                                              # store blobs and trees
        writing.look(root)                               # the last step before the record, each time it is tried
        ...                                              # create the record

    with exclusion.deleting(condemned) as may_delete:    # no commit relies on what is condemned without being seen
        ...                                              # read all logs again; delete what is still not reached
            may_delete(count)                            # before each delete

In a local directory this is a lock, here; on a store without locks, the lists of `condemning.py`.

Used by the repository. Threading: an exclusion may be shared by threads; what its methods give belongs to one.

Source: flock(2); docs/format.md section 9.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.errors import BusyError, ConfigurationError, translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from artifactfs.clock import Clock
    from artifactfs.model import Root
    from artifactfs.repository.reach import ObjectSet

_log = logging.getLogger(__name__)
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_PAUSE_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 10.0


def wait_silently(_until_ns: int) -> None:
    """Tell nobody of a wait."""


def tell_log(text: str) -> None:
    """Write of a wait into the log: of a program without one, logging prints it."""
    _log.warning("%s", text)


class Writing(Protocol):
    """The time from before a commit's first object until after its record. Belongs to one thread."""

    def look(self, *roots: Root) -> None:
        """Return if nothing that is reached from `roots` is, or will be, deleted by a prune that is under way.

        The last step before each try to create the record. Where records that follow each other need several roots,
        one look is for all: a look may wait, and what was looked at before it is then too old.

        Raises:
            PrunedError: something is gone already, or may be; store everything again.
        """


class Exclusion(Protocol):
    """Keeps commits and prunes out of each other's way.

    Attributes:
        tell: is told, in words for people, of each wait of a commit for a prune; any thread may call it.
    """

    tell: Callable[[str], None]

    @property
    def grace_seconds(self) -> float:
        """For how long a deleted version is kept, because somebody may be reading it; 0 keeps none."""

    def writing(self) -> AbstractContextManager[Writing]:
        """Return the time of one commit."""

    def deleting(
        self, condemned: ObjectSet, *, waiting: Callable[[int], None] = ...
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Return the time in which `condemned` may be deleted, where logs that are read in it still do not reach it.

        Where that begins later, `waiting` is told when, nanoseconds since 1970 UTC.

        It gives a function to be called with the number of objects before each delete, which raises when the time is
        over.

        Raises:
            BusyError: writers are at work.
            ConflictError: a commit needs something of it: nothing may be deleted.
        """


class LockedWriting:
    """Holds the lock, so nothing that it finds is deleted."""

    def look(self, *roots: Root) -> None:
        """Do nothing: no prune is under way."""


class LockExclusion:
    """A file that writers lock together and a prune alone. May be shared by threads and processes.

    Args:
        path: of the file, which is made when it is needed.
        clock: the time.
        patience_seconds: how long a prune waits for writers; None is PATIENCE_SECONDS.

    Attributes:
        tell: see `Exclusion`.
    """

    grace_seconds = 0.0

    def __init__(self, path: str, *, clock: Clock, patience_seconds: float | None = None) -> None:
        self._path = path
        self._clock = clock
        self._patience_ns = int((PATIENCE_SECONDS if patience_seconds is None else patience_seconds) * 1e9)
        self.tell: Callable[[str], None] = tell_log

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """Hold the lock together with other writers; waits while a prune deletes."""
        descriptor = self._open()
        try:
            _lock_shared(descriptor, self.tell)
            yield LockedWriting()
        finally:
            os.close(descriptor)

    @contextmanager
    def deleting(
        self, condemned: ObjectSet, *, waiting: Callable[[int], None] = wait_silently
    ) -> Iterator[Callable[[int], None]]:
        """Hold the lock alone; `waiting` is not told of the seconds until others give it back.

        Raises:
            BusyError: there were always writers.
            ConfigurationError: the file system has no locks, so that nothing may be deleted.
        """
        del condemned, waiting
        descriptor = self._open()
        try:
            self._lock_alone(descriptor)
            yield lambda _count: None
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except PermissionError:
            pass  # somebody else made it: reading is enough for a lock
        except OSError as error:
            raise translate_os_error(error, doing=f"opening the lock {self._path}", subject=self._path) from error
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise translate_os_error(error, doing=f"opening the lock {self._path}", subject=self._path) from error

    def _lock_alone(self, descriptor: int) -> None:
        end_ns = self._clock.now_ns() + self._patience_ns
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._clock.now_ns() >= end_ns:
                    msg = "another process is writing to the repository, or pruning it"
                    raise BusyError(msg, hint="try again when it has ended", subject=self._path) from None
                self._clock.sleep(_PAUSE_SECONDS)
            except OSError as error:
                msg = f"{self._path} cannot be locked ({error.strerror}), and without a lock nothing may be deleted"
                raise ConfigurationError(msg, hint="prune on the machine that has the disk") from error
            else:
                return


def _lock_shared(descriptor: int, tell: Callable[[str], None]) -> None:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting until a prune, or a repair, of the repository has ended")
            fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise translate_os_error(error, doing="locking the repository against prune") from error
        # A file system without locks: nobody can prune there either.
