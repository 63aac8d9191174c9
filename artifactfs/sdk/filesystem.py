"""`artifact://` for fsspec: the file system that it finds by the entry point `fsspec.specs`.

    import pandas
    pandas.read_csv("artifact://measurements:latest/2026.csv")
    fsspec.filesystem("artifact", repository="s3://bucket/artifacts").ls("animals:v3/images")

Used by fsspec. Needs the extra `fsspec`. Threading: may be shared by threads, and used in forked children.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from artifactfs.interop.entries import Entries
from artifactfs.interop.filesystem import VersionFileSystem
from artifactfs.interop.noting import RunNotes
from artifactfs.sdk.workspace import find_workspace
from artifactfs.variables import RUN_VARIABLE

if TYPE_CHECKING:
    from artifactfs.interop.entries import Located
    from artifactfs.model import Collection, Version
    from artifactfs.paths import Ref


class ArtifactFileSystem(VersionFileSystem):
    """The versions of a repository, to read. May be shared by threads, and used in forked children.

    In a program of `artifactfs run`, aliases stay as they were when it began, and what is read is recorded.

    Args:
        repository: its location; None takes what the environment and the configuration say.
        storage_options: those of fsspec itself.

    Raises:
        ConfigurationError: a setting cannot be used.
    """

    def __init__(self, repository: str | os.PathLike[str] | None = None, **storage_options: Any) -> None:
        super().__init__(**storage_options)
        self._workspace = find_workspace(repository)
        self._run = os.environ.get(RUN_VARIABLE)
        self._guard = threading.Lock()
        self._notes: RunNotes | None = None
        self._entries = Entries(lambda: self._workspace.repository, resolve=self._resolve)

    def _resolve(self, ref: Ref) -> tuple[Collection, Version]:
        """Return what a reference names: by the lock, by the run's aliases, or now."""
        notes = None if self._workspace.is_locked or ref.alias is None else self._find_notes()
        pins = None if notes is None else notes.find_pins(ref.collection)
        if pins is not None and ref.alias in pins:
            ref = replace(ref, selector=f"v{pins[ref.alias]}")
        return self._workspace.resolve(ref)

    def _note(self, located: Located) -> None:
        notes = self._find_notes()
        if notes is not None:
            notes.note(located)

    def _find_notes(self) -> RunNotes | None:
        if self._run is None:
            return None
        state_directory = self._workspace.repository.state_directory
        with self._guard:
            if self._notes is None:
                self._notes = RunNotes(state_directory, self._run, use=self._workspace.note_read)
            return self._notes
