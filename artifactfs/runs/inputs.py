"""What a program read through its view of the mount, taken over into the record of its run.

    runs/<utc-day>/<run id>/files-<n>     a line of JSON for each file looked up: version, path, size; in order

Used by whoever runs programs, and, for runs that crashed, by who marks them. Threading: functions without state.

Source: docs/format.md section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.paths import printable
from artifactfs.repository.runviews import end_view, iter_looked

if TYPE_CHECKING:
    from artifactfs.runs.history import RunLog


def record_inputs(state_directory: str, runs: RunLog, run: str) -> None:
    """Record the versions that a run has entered and that are not recorded yet.

    Raises:
        StorageFullError, ArtifactFSError: they could not be recorded.
    """
    known = set(runs.get_run(run).inputs)
    for found in iter_looked(state_directory, run):
        if found.artifact not in known:
            known.add(found.artifact)
            runs.use(run, found.artifact)


def close_view(state_directory: str, runs: RunLog, run: str) -> None:
    """Record everything that a run looked up, and end its view.

    Raises:
        StorageFullError, ArtifactFSError: it could not be recorded; the view stays, so that it can be later.
    """
    record_inputs(state_directory, runs, run)
    files = [
        (found.artifact, printable(found.path), found.size)
        for found in iter_looked(state_directory, run)
        if found.size is not None
    ]
    if files:
        runs.keep_files(run, files)
    end_view(state_directory, run)
