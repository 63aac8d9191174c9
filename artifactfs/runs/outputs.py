"""What a commit says of the run that it is made in, and what that run says of the version.

Used by the SDK, the command line, and the socket in a mount. Threading: functions without state.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from artifactfs.errors import InvalidNameError, NotFoundError
from artifactfs.runs.inputs import find_inputs, note_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.repository.commit import CommitOptions, CommitResult
    from artifactfs.runs.history import RunLog


def in_run(state_directory: str, runs: RunLog, run: str, options: CommitOptions) -> CommitOptions:
    """Return options that also say in which run a commit is made, and what that has read.

    Raises:
        ArtifactFSError: that cannot be read.
    """
    try:
        inputs = find_inputs(state_directory, runs, run)
    except NotFoundError:
        inputs = ()  # a run of another repository: what it has read there has no name here
    return replace(options, run=run, inputs=inputs)


def note_output(runs: RunLog, run: str, result: CommitResult, *, inputs: Iterable[str] | None = None) -> None:
    """Record the version among the outputs of the run in which it was committed, and what it is made from.

    Args:
        runs: of the repository.
        run: its id; of a run of another repository nothing is recorded.
        result: of the commit.
        inputs: what this run made it from; None is all that the version states.

    Raises:
        ArtifactFSError: it could not be recorded.
    """
    stated = result.version.inputs if result.created else ()
    with suppress(NotFoundError):
        note_inputs(runs, run, stated if inputs is None else inputs)
        runs.log(run, f"{result.collection.name}:{result.version.name}", is_new=result.created)


def note_outputs(runs: RunLog, ids: Iterable[str], artifact: str) -> None:
    """Record `NAME:vN` as an output of runs that do not have it yet.

    Not of one that was marked as crashed, because a run goes on with whatever it records; of its parts the version
    says nothing.

    Raises:
        ArtifactFSError: it could not be recorded for one of them; doing it again is harmless.
    """
    for run in ids:
        try:
            state = runs.get_run(run)
        except (NotFoundError, InvalidNameError):
            continue  # recorded elsewhere
        if artifact not in state.outputs and not (state.state == "crashed" and state.is_marked):
            runs.log_late(run, artifact)
