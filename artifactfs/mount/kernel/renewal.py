"""Going on when what a live mount answers from was damaged or removed below it.

A child that finds its epoch unusable, or cannot open what it is to serve, ends with a status that says so; one that is
ended by a fault of memory twice in a minute counts as such, because LMDB's files are mapped. The supervisor then has a
child find out what can be served (`SourceSpec.renew`), starts all others anew, and makes the kernel forget every name:
it asks again and gets the nodes of the new epoch. Nodes of the old one are ESTALE. Where nothing can be served, every
request is EIO until a later try succeeds.

Used by the supervisor and its children. Threading: one thread.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

from artifactfs.errors import ArtifactFSError
from artifactfs.mount.kernel.apart import call_apart
from artifactfs.mount.kernel.requests import RefusedError

if TYPE_CHECKING:
    from artifactfs.mount.kernel.source import Content, SourceSpec, Space

_log = logging.getLogger(__name__)
DAMAGED: Final = 75
"""Exit status of a child: the epoch cannot be used any more."""
UNOPENED: Final = 76
"""Exit status of a child: what it is to serve cannot be opened."""
_FAULTS: Final = frozenset({signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT})
_FAULT_LIMIT: Final = 2
_PERIOD_SECONDS: Final = 60.0
_RENEWAL_LIMIT: Final = 6
"""More renewals in a minute do not help."""
RETRY_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 20.0
"""So long may finding out what can be served take."""


class DamagedError(Exception):
    """The epoch cannot be used any more: this process has to end."""


class LostSource:
    """Stands for a source that cannot be opened: every answer is EIO.

    Threading: one thread.
    """

    has_xattrs = True

    def _refuse(self) -> NoReturn:
        raise RefusedError(errno.EIO, os.strerror(errno.EIO))

    def find_entry(self, parent: int, name: bytes) -> bytes:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def find_attributes(self, node: int) -> bytes:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def read_link(self, node: int) -> bytes:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def fill_directory(self, node: int, *, offset: int, into: memoryview) -> int:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def open_content(self, node: int) -> Content:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def list_xattrs(self, node: int) -> list[bytes]:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def find_xattr(self, node: int, name: bytes) -> bytes | None:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def statfs(self) -> Space:
        """Refuse."""
        self._refuse()

    def close(self) -> None:
        """Hold nothing."""


class Renewals:
    """When a mount's source is renewed.

    Threading: one thread.
    """

    def __init__(self) -> None:
        """Nothing has ended yet."""
        self._faults: deque[float] = deque(maxlen=_FAULT_LIMIT)
        self._done: deque[float] = deque(maxlen=_RENEWAL_LIMIT)
        self._is_damaged = False
        self._due: float | None = None

    def note_end(self, status: int) -> bool:
        """Take note of how a child ended; return whether the source has to be renewed because of it."""
        now = time.monotonic()
        if os.WIFSIGNALED(status):
            if os.WTERMSIG(status) not in _FAULTS:
                return False
            self._faults.append(now)
            if len(self._faults) < _FAULT_LIMIT or now - self._faults[0] > _PERIOD_SECONDS:
                return False
            self._faults.clear()
            self._is_damaged = True
        elif os.waitstatus_to_exitcode(status) in {DAMAGED, UNOPENED}:
            self._is_damaged |= os.waitstatus_to_exitcode(status) == DAMAGED
        else:
            return False
        self._due = self._due or now
        return True

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew."""
        return self._due is not None and self._due <= time.monotonic()

    def renew(self, source: SourceSpec) -> SourceSpec | None:
        """Return what is served from now on; None when nothing can be, and another try is due later."""
        is_damaged, now = self._is_damaged, time.monotonic()
        try:
            if len(self._done) == _RENEWAL_LIMIT and now - self._done[0] < _PERIOD_SECONDS:
                _log.error("the mount was renewed %d times in a minute: it answers EIO for now", _RENEWAL_LIMIT)
            else:
                found = call_apart(lambda: source.renew(is_damaged=is_damaged), seconds=_LOOK_SECONDS)
                self._done.append(now)
                self._is_damaged, self._due = False, None
                return found
        except ArtifactFSError as error:
            _log.error("the mount cannot go on as it is, nor elsewhere: %s; what cannot be read is EIO", error)
        self._due = now + RETRY_SECONDS
        return None
