"""`artifact://` for fsspec: the file system that it finds by the entry point `fsspec.specs`.

    import pandas
    pandas.read_csv("artifact://measurements:latest/2026.csv")
    fsspec.filesystem("artifact", repository="s3://bucket/artifacts").ls("animals:v3/images")

Used by fsspec. Needs the extra `fsspec`. Threading: may be shared by threads, and used in forked children.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from artifactfs.interop.entries import Entries
from artifactfs.interop.filesystem import VersionFileSystem
from artifactfs.interop.noting import RunNotes
from artifactfs.sdk.starting import RUN_VARIABLE
from artifactfs.sdk.workspace import find_workspace

if TYPE_CHECKING:
    from artifactfs.interop.entries import Located


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
        self._entries = Entries(lambda: self._workspace.repository, find_pins=self._find_pins)

    def _find_pins(self, collection: str) -> dict[str, int] | None:
        notes = self._find_notes()
        return None if notes is None else notes.find_pins(collection)

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
                self._notes = RunNotes(state_directory, self._run)
            return self._notes
