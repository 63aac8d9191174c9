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
from typing import TYPE_CHECKING, Final, NoReturn

from artifactfs.errors import ArtifactFSError
from artifactfs.mount.kernel.apart import call_apart
from artifactfs.mount.kernel.requests import RefusedError
from artifactfs.mount.lately import RENEWALS, Lately

if TYPE_CHECKING:
    from artifactfs.mount.kernel.source import SourceSpec

_log = logging.getLogger(__name__)
DAMAGED: Final = 75
"""Exit status of a child: the epoch cannot be used any more."""
UNOPENED: Final = 76
"""Exit status of a child: what it is to serve cannot be opened."""
_FAULTS: Final = frozenset({signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT})
_FAULT_LIMIT: Final = 2
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

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise RefusedError(errno.EIO, os.strerror(errno.EIO))

    find_entry = find_attributes = read_link = fill_directory = open_content = _refuse
    list_xattrs = find_xattr = statfs = _refuse

    def close(self) -> None:
        """Hold nothing."""


class Renewals:
    """When a mount's source is renewed.

    Threading: one thread.
    """

    def __init__(self) -> None:
        """Nothing has ended yet."""
        self._faults = Lately(_FAULT_LIMIT)
        self._done = Lately(RENEWALS)
        self._is_damaged = False
        self._due: float | None = None

    def note_end(self, status: int) -> bool:
        """Take note of how a child ended; return whether the source has to be renewed because of it."""
        if os.WIFSIGNALED(status):
            if os.WTERMSIG(status) not in _FAULTS:
                return False
            self._faults.note()
            if not self._faults.is_too_often:
                return False
            self._faults.clear()
            self._is_damaged = True
        elif os.waitstatus_to_exitcode(status) in {DAMAGED, UNOPENED}:
            self._is_damaged |= os.waitstatus_to_exitcode(status) == DAMAGED
        else:
            return False
        self._due = self._due or time.monotonic()
        return True

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew."""
        return self._due is not None and self._due <= time.monotonic()

    def renew(self, source: SourceSpec) -> SourceSpec | None:
        """Return what is served from now on; None when nothing can be, and another try is due later."""
        is_damaged = self._is_damaged
        try:
            if self._done.is_too_often:
                _log.error("the mount was renewed %d times in a minute: it answers EIO for now", RENEWALS)
            else:
                found = call_apart(lambda: source.renew(is_damaged=is_damaged), seconds=_LOOK_SECONDS)
                self._done.note()
                self._is_damaged, self._due = False, None
                return found
        except ArtifactFSError as error:
            _log.error("the mount cannot go on as it is, nor elsewhere: %s; what cannot be read is EIO", error)
        self._due = time.monotonic() + RETRY_SECONDS
        return None
