"""Recording what goes on after a command of `artifactfs run` has ended: `python -m artifactfs.sdk.lingering ORDER`.

The run is over then, with the command's exit status, and whoever started it goes on. Processes that it has left behind
keep its view, and what they look up is recorded until the last of them ends.

Used by `programs`. Threading: one thread, in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from artifactfs.runs.inputs import close_view, record_files, record_inputs
from artifactfs.runs.markers import settle
from artifactfs.runs.members import await_end, find_members

if TYPE_CHECKING:
    from artifactfs.sdk.workspace import Workspace

MODULE: Final = "artifactfs.sdk.lingering"
RECORD_SECONDS: Final = 30.0


class Remains(Struct, frozen=True):
    """What is left of a run.

    Attributes:
        run: its id.
        variable: the environment variable that its processes have, `NAME=ID`.
        namespace: the mount namespace in which they are; 0 for none.
        held: the descriptor that holds its view.
        repository: its repository.
    """

    run: str
    variable: str
    namespace: int
    held: int
    repository: str


def watch_remains(workspace: Workspace, remains: Remains) -> None:
    """Start a process that records what is left of a run, and then ends its view.

    Raises:
        OSError: it could not be started; the view is closed by whoever settles runs next.
    """
    places = workspace.places
    own = {"STATE": places.state, "RUNTIME": places.runtime, "CACHE": places.cache}
    subprocess.Popen(
        [sys.executable, "-P", "-m", MODULE, msgspec.json.encode(remains).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, **{f"ARTIFACTFS_{name}": os.path.abspath(value) for name, value in own.items()}},
        pass_fds=[remains.held],
        start_new_session=True,
    )


def main(arguments: list[str]) -> int:
    """Record until nobody is left; return the exit code."""
    # Only here: whoever starts this needs none of it.
    from artifactfs.sdk.workspace import find_workspace  # noqa: PLC0415

    remains = msgspec.json.decode(arguments[0], type=Remains)
    workspace = find_workspace(remains.repository)
    state_directory = workspace.repository.state_directory

    def record() -> None:
        record_inputs(state_directory, workspace.runs, remains.run)
        record_files(state_directory, workspace.runs, remains.run)

    await_end(
        lambda: find_members(remains.variable, namespace=remains.namespace),
        seconds=RECORD_SECONDS,
        meanwhile=record,
    )
    close_view(state_directory, workspace.runs, remains.run)
    settle(workspace.runs, state_directory, remains.run)
    workspace.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
