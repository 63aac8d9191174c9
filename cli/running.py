"""What commands do otherwise when a program of `artifactfs run` calls them.

Threading: the main thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from artifactfs.errors import ArtifactFSError, UsageError
from artifactfs.variables import RUN_VARIABLE

if TYPE_CHECKING:
    from artifactfs.paths import Ref
    from artifactfs.repository.repository import Repository

    from .session import Session


def note_read(
    session: Session, repository: Repository, artifact: str, *, path: bytes = b"", size: int | None = None
) -> None:
    """Record that the run, if this is in one, reads something of a version, `NAME:vN`; see `runs.inputs.note_read`.

    That it cannot be recorded is told, and does not keep the command from reading.
    """
    run = os.environ.get(RUN_VARIABLE)
    if not run:
        return
    from artifactfs.runs import inputs

    from .runs import open_runs

    try:
        inputs.note_read(repository.state_directory, open_runs(repository), run, artifact, path=path, size=size)
    except ArtifactFSError as error:
        session.warn(f"that the run reads {artifact} is not recorded: {error.message}")


def current_run() -> str | None:
    """Return the id of the run that this is in; None outside of one."""
    return os.environ.get(RUN_VARIABLE) or None


def pin_ref(repository: Repository, ref: Ref) -> Ref:
    """Return a reference as the run, if this is in one, means it: its aliases stay while it runs."""
    run = os.environ.get(RUN_VARIABLE)
    if not run:
        return ref
    from artifactfs.repository import runviews

    return runviews.pin_ref(repository, ref, run)


def refuse_in_run(doing: str) -> None:
    """Return outside of `artifactfs run`.

    What is mounted in a run is seen by its program alone, is not recorded, and its server would keep the run going on.

    Raises:
        UsageError: this is in a run.
    """
    run = os.environ.get(RUN_VARIABLE)
    if run:
        msg = f"a program of `artifactfs run` cannot {doing}"
        raise UsageError(msg, hint=f"{doing} before or after the run, or outside of it", subject=run)
