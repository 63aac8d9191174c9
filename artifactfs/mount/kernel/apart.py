"""Calling a function in a child: what it opens and starts, threads above all, stays out of the process that forks on.

Used by the server of a mount, which looks into repositories before it forks its workers. A client of an object store
that was used before a fork hangs in every child.

Threading: the calling process has one thread. Source: fork(2), wait(2).
"""

from __future__ import annotations

import logging
import os
import pickle
import select
import signal
from typing import TYPE_CHECKING, TypeVar

from artifactfs.errors import ArtifactFSError, MountError
from artifactfs.mount.logs import follow_log

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_log = logging.getLogger(__name__)


def call_apart(function: Callable[[], T], *, seconds: float | None = None) -> T:
    """Return what a function returns in a forked child, which is killed when it takes longer than `seconds`.

    Raises:
        ArtifactFSError: the function raised it.
        MountError: it cannot be started, or ended without an answer.
    """
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        msg = f"no process can be started to look into the repository: {error.strerror}"
        raise MountError(msg, hint="see ulimit -u, and the limits of the control group") from error
    if not pid:
        os.close(reading)
        _answer(function, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        if not select.select([pipe], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
        data = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        msg = f"the process that looks into the repository ended with status {code}"
        raise MountError(msg, hint="the server's log says why")
    found = pickle.loads(data)  # noqa: S301 - written by the own child, whole
    if isinstance(found, ArtifactFSError):
        raise found
    return found  # type: ignore[no-any-return]


def _answer(function: Callable[[], object], descriptor: int) -> None:
    """Write what a function returns, or its error, and end this process."""
    status = 1
    try:
        try:
            follow_log()
            found = function()
        except ArtifactFSError as error:
            found = error
        except Exception:  # noqa: BLE001 - whoever waits is told that there is no answer
            _log.exception("looking into the repository failed in an unexpected way")
            return
        with os.fdopen(descriptor, "wb") as pipe:
            pickle.dump(found, pipe)
        status = 0
    finally:
        os._exit(status)
