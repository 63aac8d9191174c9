"""What a program read, through its view of the mount or without, taken over into the record of its run.

    runs/<utc-day>/<run id>/files-<n>     a line of JSON for each file looked up: version, path, size; in order

Used by whoever runs programs, and, for runs that crashed, by who marks them. Threading: functions without state.

Source: docs/format.md section 6.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.errors import InvalidNameError, NotFoundError, translate_os_error
from artifactfs.paths import printable
from artifactfs.repository.runfiles import LookedUpFile
from artifactfs.repository.runviews import append_looked, end_view, is_run_name, iter_looked, open_looked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactfs.runs.history import RunLog


def record_inputs(state_directory: str, runs: RunLog, run: str) -> None:
    """Record the versions that a run has entered and that are not recorded yet.

    Raises:
        StorageFullError, ArtifactFSError: they could not be recorded.
    """
    note_inputs(runs, run, (found.artifact for found in iter_looked(state_directory, run)))


def note_inputs(runs: RunLog, run: str, artifacts: Iterable[str]) -> None:
    """Record versions, each `NAME:vN`, as inputs of a run, but for those that are recorded, or that it made.

    Raises:
        NotFoundError: there is no such run.
        StorageFullError, ArtifactFSError: they could not be recorded.
    """
    state = runs.get_run(run)
    use = runs.use_late if state.has_ended else runs.use
    known = {*state.inputs, *state.made}
    for artifact in artifacts:
        if artifact not in known:
            known.add(artifact)
            use(run, artifact)


def note_read(
    state_directory: str, runs: RunLog, run: str, artifact: str, *, path: bytes = b"", size: int | None = None
) -> bool:
    """Record that a program of a run reads something of a version without a mount.

    Where the run has a view here, it is noted beside what is looked up there, for `record_inputs`; then True is
    returned.

    Args:
        state_directory: of the repository on this machine.
        runs: of the repository.
        run: id of the run; one that another repository has is left out.
        artifact: the version, `NAME:vN`.
        path: what is read of it; b"" is all.
        size: bytes of a file; None for a directory.

    Raises:
        StorageFullError, ArtifactFSError: it could not be recorded.
    """
    try:
        descriptor = open_looked(state_directory, run) if is_run_name(run) else -1
    except OSError:
        descriptor = -1
    if descriptor < 0:
        with suppress(NotFoundError, InvalidNameError):
            note_inputs(runs, run, [artifact])
        return False
    try:
        append_looked(descriptor, artifact, path, size)
    except OSError as error:
        raise translate_os_error(error, doing=f"noting what the run {run} reads") from error
    finally:
        os.close(descriptor)
    return True


def find_inputs(state_directory: str, runs: RunLog, run: str) -> tuple[str, ...]:
    """Return the versions that a run has read by now, each `NAME:vN`: recorded, or entered in its view.

    Raises:
        NotFoundError: there is no such run.
        ArtifactFSError: it cannot be read.
    """
    state = runs.get_run(run)
    entered = (found.artifact for found in iter_looked(state_directory, run) if found.artifact not in state.made)
    return tuple(dict.fromkeys((*state.inputs, *entered)))


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
