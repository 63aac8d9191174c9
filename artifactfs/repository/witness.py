"""What this machine has seen of each log: against that, a log that was cut or replaced as a whole cannot hide it.

A log proves by itself that nothing in its middle was altered: each record states the digest of the one before. It
cannot prove that its end is there, nor that all of it was not written anew. So each user's machine notes, in a file
that only grows, number and digest of the last record whenever it sees a new one:

    seen/<collection>     lines of `<seq> sha256:<hex>`, in the state directory

It is no part of the index and is not dropped with it. A new record is noted only when the log still has the last one
noted before; otherwise the notes stay, so that the difference can be found.

Used by the repository. Threading: a Witness may be shared by threads and processes.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.model import Collection

FOLDER: Final = "seen"
_LINE = re.compile(r"(\d{1,20}) (sha256:[0-9a-f]{64})")
_log = logging.getLogger(__name__)


class Witness:
    """Notes the records that were seen. May be shared by threads.

    Args:
        state_directory: of the repository on this machine.
    """

    def __init__(self, state_directory: str) -> None:
        self._folder = os.path.join(state_directory, FOLDER)
        self._last: dict[str, tuple[int, str]] = {}

    def load(self, name: str) -> list[tuple[int, str]]:
        """Return numbers and digests of the records of a log that were seen, in order."""
        try:
            with open(os.path.join(self._folder, name), encoding="ascii", errors="replace") as file:
                matches = [_LINE.fullmatch(line.rstrip("\n")) for line in file]
        except OSError:
            return []
        return sorted({(int(match[1]), match[2]) for match in matches if match is not None})

    def note(self, state: Collection, find_digest: Callable[[str, int], str | None]) -> None:
        """Note the last record of a log, unless it was noted or the log is not the one that was seen.

        Args:
            state: the state after that record.
            find_digest: returns the digest of a record, or None when it cannot be read.
        """
        last = self._last.get(state.name) or max(self.load(state.name), default=(0, ""))
        self._last[state.name] = last
        if state.seq <= last[0]:
            return
        if last[0] and find_digest(state.name, last[0]) != last[1]:
            _log.warning("the log of %s is not the one that was seen before: `artifactfs log --verify`", state.name)
            return
        self._last[state.name] = (state.seq, state.head)
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            path = os.path.join(self._folder, state.name)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, f"{state.seq} {state.head}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.warning("what was seen of the log of %s could not be noted: %s", state.name, error)
