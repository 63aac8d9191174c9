"""What a program of `artifactfs run` reads without the mount, noted where what it looks up in the mount is.

Used by the fsspec file system. Threading: a RunNotes may be shared by threads, and by forked children.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError
from artifactfs.repository.runviews import append_looked, find_pins, open_looked

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.interop.entries import Located

KNOWN_MAX: Final = 1 << 16


class RunNotes:
    """Notes files of one run, each about once. May be shared by threads."""

    def __init__(self, state_directory: str, run: str, *, use: Callable[[str], None]) -> None:
        """Store which run.

        Args:
            state_directory: of the repository on this machine.
            run: its id.
            use: records a version, `NAME:vN`, as an input of a run that has no view here, which pins nothing.
        """
        self._use = use
        self._guard = threading.Lock()
        self._known: set[tuple[str, bytes]] = set()
        self._pins = find_pins(state_directory, run)
        self._descriptor, self._is_closed = -1, False
        if self._pins is not None:
            with suppress(OSError):
                self._descriptor = open_looked(state_directory, run)

    def find_pins(self, collection: str) -> dict[str, int] | None:
        """Return where the aliases of a collection pointed when the run began; None of one that has come since."""
        return None if self._pins is None else self._pins.get(collection)

    def note(self, located: Located) -> None:
        """Note that a file is read."""
        key = located.artifact, located.ref.path if self._descriptor >= 0 else b""
        with self._guard:
            if self._is_closed or key in self._known:
                return
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()  # readers of the notes take each name once
            self._known.add(key)
            with suppress(OSError, ArtifactFSError):  # that it cannot be noted must not keep the program from reading
                if self._descriptor < 0:
                    self._use(located.artifact)
                    return
                append_looked(self._descriptor, *key, getattr(located.entry, "size", 0))

    def close(self) -> None:
        """Note nothing any more."""
        with self._guard:
            self._is_closed = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
