"""What a program read through its view of the mount, taken over into the record of its run.

    runs/<utc-day>/<run id>/files-<n>     a line of JSON for each file looked up: version, path, size; in order

Used by whoever runs programs, and, for runs that crashed, by who marks them. Threading: functions without state.

Source: docs/format.md section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.paths import printable
from artifactfs.repository.runfiles import LookedUpFile
from artifactfs.repository.runviews import end_view, iter_looked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.runs.history import RunLog


def record_inputs(state_directory: str, runs: RunLog, run: str) -> None:
    """Record the versions that a run has entered and that are not recorded yet.

    Raises:
        StorageFullError, ArtifactFSError: they could not be recorded.
    """
    state = runs.get_run(run)
    use = runs.use_late if state.has_ended else runs.use
    known = set(state.inputs)
    for found in iter_looked(state_directory, run):
        if found.artifact not in known:
            known.add(found.artifact)
            use(run, found.artifact)


def record_files(state_directory: str, runs: RunLog, run: str) -> None:
    """Record the files that a run has looked up and that are not recorded yet.

    Raises:
        StorageFullError, ArtifactFSError: they could not be recorded.
    """
    known = {(file.artifact, file.path) for file in runs.iter_files(run)}
    found = _iter_shown(state_directory, run)
    files = [(file.artifact, file.path, file.size) for file in found if (file.artifact, file.path) not in known]
    if files:
        runs.keep_files(run, files)


def close_view(state_directory: str, runs: RunLog, run: str) -> None:
    """Record everything that a run looked up, and end its view.

    Raises:
        StorageFullError, ArtifactFSError: it could not be recorded; the view stays, so that it can be later.
    """
    record_inputs(state_directory, runs, run)
    record_files(state_directory, runs, run)
    end_view(state_directory, run)


def iter_files(state_directory: str, runs: RunLog, run: str) -> Iterator[LookedUpFile]:
    """Yield the files that a run looked up, in order, each once; of a run that goes on here, those so far.

    Raises:
        MalformedError: the record is damaged.
    """
    seen: set[tuple[str, str]] = set()
    live = list(_iter_shown(state_directory, run))  # before the record: the view ends after it was recorded
    for files in (runs.iter_files(run), live):
        for file in files:
            if (file.artifact, file.path) not in seen:
                seen.add((file.artifact, file.path))
                yield file


def _iter_shown(state_directory: str, run: str) -> Iterator[LookedUpFile]:
    for found in iter_looked(state_directory, run):
        if found.size is not None:
            yield LookedUpFile(found.artifact, printable(found.path), found.size)
