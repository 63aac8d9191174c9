"""Recording a version as an output of the runs that contributed to it, when somebody else finished it.

Used by the SDK and the command line. Threading: functions without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.errors import InvalidNameError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.runs.history import RunLog


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
