"""In which run somebody commits who asks through the socket in a mount.

A container says it (`ARTIFACTFS_RUN`, when that was handed on to it); for one that does not, the nearest process that
it descends from does which names a run in its environment, or is the process of a run that was begun by the same user.
Either is believed only of a run that goes on, and of a process that descends from
the run's own, or belongs to the run's user or to root, who could commit in that user's name anyway.

Used by `work`. Threading: functions without state.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.errors import ArtifactFSError
from artifactfs.repository.runviews import is_held
from artifactfs.runs.events import is_run_id
from artifactfs.runs.markers import list_marked
from artifactfs.runs.processes import is_process, iter_ancestors
from artifactfs.variables import RUN_VARIABLE

if TYPE_CHECKING:
    from artifactfs.mount.port.peers import Peer
    from artifactfs.runs.events import Process
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.state import RunState


def find_run(state_directory: str, runs: RunLog, peer: Peer, said: str) -> tuple[str | None, str]:
    """Return the run in which somebody commits, None outside of one; and why the one that was said is not believed.

    Args:
        state_directory: of the repository on this machine.
        runs: of the repository.
        peer: who asks.
        said: the id of a run, from the environment of who asks; empty when that does not say.
    """
    ancestors = list(iter_ancestors(peer.pid))
    run = said or _find_above(state_directory, runs, ancestors)
    if not run:
        return None, ""
    try:
        refused = (
            "it is not the id of a run" if not is_run_id(run) else _check(state_directory, runs, run, peer, ancestors)
        )
    except ArtifactFSError as error:
        refused = error.message
    return (None, refused if said else "") if refused else (run, "")


def _check(state_directory: str, runs: RunLog, run: str, peer: Peer, ancestors: list[int]) -> str:
    """Return why a process does not belong to a run; empty when it does."""
    state = runs.get_run(run)
    if state.state != "running" and not is_held(state_directory, run):
        return "it has ended"
    if peer.uid == 0 or peer.name == state.user or _descends(ancestors, state):
        return ""
    return f"it is of the user {state.user}"


def _descends(ancestors: list[int], state: RunState) -> bool:
    process = state.circumstances.process
    return process is not None and any(is_process(process, pid) for pid in ancestors)


def _find_above(state_directory: str, runs: RunLog, ancestors: list[int]) -> str:
    """Return the run of the nearest of some processes: its own, or that which its environment names; empty for none."""
    begun: list[tuple[str, Process]] = []
    for run in list_marked(state_directory):
        with suppress(ArtifactFSError):
            process = runs.get_run(run).circumstances.process
            begun += [] if process is None else [(run, process)]
    for pid in ancestors:
        found = _read_variable(pid) or next((run for run, process in begun if is_process(process, pid)), "")
        if found:
            return found
    return ""


def _read_variable(pid: int) -> str:
    """Return the run that the environment of a process names; empty when it names none, or cannot be read."""
    wanted = f"{RUN_VARIABLE}=".encode()
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return ""
    return next((word[len(wanted) :].decode("ascii", "replace") for word in words if word.startswith(wanted)), "")
