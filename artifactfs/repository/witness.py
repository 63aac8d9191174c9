"""What this machine has seen of each log: against that, a log that was cut or replaced as a whole cannot hide it.

A log proves by itself that nothing in its middle was altered: each record states the digest of the one before. It
cannot prove that its end is there, nor that all of it was not written anew. So each user's machine notes, in a file
that only grows, number and digest of the last record whenever it sees a new one:

    seen/<collection>     lines of `<seq> sha256:<hex>`, in the state directory

It is no part of the index and is not dropped with it. A new record is noted only when the log still has the last one
noted before; otherwise the notes stay, so that the difference can be found. Nothing is committed to a log that is
shorter than noted, and nothing pruned, until its user accepts it as it is.

Used by the repository. Threading: a Witness may be shared by threads and processes.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.errors import InvalidNameError, MalformedError, translate_os_error
from artifactfs.paths import check_collection_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.model import Collection

Seen = tuple[int, str]
"""Number and digest of a record that was seen; (0, "") is none."""
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
        self._last: dict[str, Seen] = {}

    def names(self) -> list[str]:
        """Return the names of all collections of whose logs something was seen."""
        names = []
        with suppress(OSError):
            for name in os.listdir(self._folder):
                with suppress(InvalidNameError):
                    names.append(check_collection_name(name))
        return sorted(names)

    def load(self, name: str) -> list[Seen]:
        """Return numbers and digests of the records of a log that were seen, in order."""
        try:
            with open(os.path.join(self._folder, name), encoding="ascii", errors="replace") as file:
                matches = [_LINE.fullmatch(line.rstrip("\n")) for line in file]
        except OSError:
            return []
        return sorted({(int(match[1]), match[2]) for match in matches if match is not None})

    def find_last(self, name: str) -> Seen:
        """Return the last record of a log that was seen."""
        last = self._last.get(name) or max(self.load(name), default=(0, ""))
        self._last[name] = last
        return last

    def check_not_cut(self, state: Collection, last: Seen) -> None:
        """Return unless a log is shorter than it was seen.

        Args:
            state: the state after its last record.
            last: `find_last`, from before the log was read.

        Raises:
            MalformedError: records are missing at its end.
        """
        if state.seq >= last[0]:
            return
        if last not in self.load(state.name):  # another process was told to accept the log as it is
            self._last.pop(state.name, None)
            return
        msg = f"the log of {state.name} was cut: this machine has seen {last[0]} records, and there are {state.seq}"
        hint = f"restore it from a copy of the repository, or accept it with `artifactfs log {state.name} --accept`"
        raise MalformedError(msg, hint=hint, subject=state.name)

    def forget(self, name: str) -> None:
        """Forget what was seen of a log.

        Raises:
            ArtifactFSError: the notes cannot be removed.
        """
        path = os.path.join(self._folder, name)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise translate_os_error(error, doing=f"removing {path}", subject=path) from error
        self._last.pop(name, None)

    def note(self, state: Collection, find_digest: Callable[[str, int], str | None]) -> None:
        """Note the last record of a log, unless it was noted or the log is not the one that was seen.

        Args:
            state: the state after that record.
            find_digest: returns the digest of a record, or None when it cannot be read.
        """
        last = self.find_last(state.name)
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
