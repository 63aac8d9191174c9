"""Which runs of this user were begun on this machine and not finished: so that crashed ones are found without a search.

    running/<run id>      an empty file in the state directory, from the start of a run to the end of its last process

They only save work: a run is what its events say. The next run that begins here, and `artifactfs runs`, look at them
and mark those that crashed.

Used by whoever starts and lists runs, and by the socket in a mount. Threading: functions without state.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError
from artifactfs.repository.runviews import is_held
from artifactfs.runs.inputs import close_view

if TYPE_CHECKING:
    from artifactfs.runs.history import RunLog

FOLDER: Final = "running"


def add_marker(state_directory: str, run: str) -> None:
    """Remember that a run was begun here. What cannot be remembered is found out by its lease."""
    folder = os.path.join(state_directory, FOLDER)
    with suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.close(os.open(os.path.join(folder, run), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def remove_marker(state_directory: str, run: str) -> None:
    """Forget a run that ended."""
    with suppress(OSError):
        os.unlink(os.path.join(state_directory, FOLDER, run))


def list_marked(state_directory: str) -> list[str]:
    """Return the runs that were begun here and not forgotten, in the order in which they were."""
    try:
        return sorted(os.listdir(os.path.join(state_directory, FOLDER)))
    except OSError:
        return []


def settle_marked(runs: RunLog, state_directory: str) -> None:
    """Mark the runs that were begun here and whose process is gone; forget those that ended.

    What they had looked up is recorded, unless somebody does that still.
    """
    for run in list_marked(state_directory):
        if is_held(state_directory, run):
            continue
        with suppress(ArtifactFSError):
            state = runs.get_run(run)
            if state.state == "crashed" or state.has_ended:
                close_view(state_directory, runs, run)  # before the mark, because a run goes on with what it records
            if runs.settle(state).has_ended:
                remove_marker(state_directory, run)
