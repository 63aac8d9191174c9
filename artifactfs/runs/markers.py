"""Which runs of this user were begun on this machine and not finished: so that crashed ones are found without a search.

    running/<run id>      a file in the state directory, from the start of a run to the end of its last process

It is empty, but where the end of a run could not be recorded: then it has exit code and time, and who finds it records
that. Else markers only save work: a run is what its events say. The next run that begins here, and `artifactfs runs`,
look at them and mark those that crashed.

Used by whoever starts and lists runs, and by the socket in a mount. Threading: functions without state.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError
from artifactfs.repository.runviews import has_view, is_held
from artifactfs.runs.inputs import close_view
from artifactfs.runs.members import goes_on

if TYPE_CHECKING:
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.state import RunState

FOLDER: Final = "running"
FORGET_NS: Final = 30 * 86_400 * 10**9
"""A run of which nothing was heard for so long, and whose process cannot be seen, is looked at no more."""
_END = re.compile(r"(-?\d{1,19}) (\d{1,19})\n")


def add_marker(state_directory: str, run: str) -> None:
    """Remember that a run was begun here. What cannot be remembered is found out by its lease."""
    with suppress(OSError):
        os.makedirs(os.path.join(state_directory, FOLDER), mode=0o700, exist_ok=True)
        _write(state_directory, run, b"")


def note_end(state_directory: str, run: str, *, exit_code: int, time_ns: int) -> None:
    """Remember how a run ended, because that could not be recorded: whoever settles runs next tries again."""
    with suppress(OSError):
        _write(state_directory, run, b"%d %d\n" % (exit_code, time_ns))


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
        if not is_held(state_directory, run):
            with suppress(ArtifactFSError):
                settle(runs, state_directory, run)


def settle(runs: RunLog, state_directory: str, run: str) -> None:
    """Mark one run whose process is gone, or forget it if it ended.

    Not while processes of it go on that see its view, as when `artifactfs run` alone was killed: they would lose it.

    Raises:
        ArtifactFSError: it could not be recorded.
    """
    state, end = runs.get_run(run), _find_end(state_directory, run)
    is_new = state.state == "crashed" and not state.is_marked
    is_new |= state.state == "lost" and (end is not None or runs.has_restarted(state))
    if is_new or state.has_ended:
        if has_view(state_directory, run) and goes_on(run):
            return
        close_view(state_directory, runs, run)  # before the mark, because a run goes on with what it records
        if is_new and end is not None:
            runs.finish(run, exit_code=end[0], time_ns=end[1])
        elif is_new:
            runs.mark_crashed(run)
        remove_marker(state_directory, run)
    elif _is_forgotten(runs, state) and not has_view(state_directory, run):
        remove_marker(state_directory, run)


def _is_forgotten(runs: RunLog, state: RunState) -> bool:
    return state.state == "lost" and runs.find_silence_ns(state) > FORGET_NS


def _find_end(state_directory: str, run: str) -> tuple[int, int] | None:
    """Return exit code and time of an end that could not be recorded; None without one."""
    try:
        with open(os.path.join(state_directory, FOLDER, run), encoding="ascii", errors="replace") as file:
            match = _END.fullmatch(file.read(64))
    except OSError:
        return None
    return None if match is None else (int(match[1]), int(match[2]))


def _write(state_directory: str, run: str, data: bytes) -> None:
    path = os.path.join(state_directory, FOLDER, run)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
