"""Answers from the graph of runs and versions, as artifacts and runs.

Used by `Artifact` and `RecordedRun`. Threading: functions without state.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.errors import NotFoundError
from artifactfs.runs.events import is_run_id

if TYPE_CHECKING:
    from artifactfs.runs.lineage import Direction
    from artifactfs.sdk.artifact import Artifact
    from artifactfs.sdk.recorded import RecordedRun
    from artifactfs.sdk.workspace import Workspace


def get_run(workspace: Workspace, run: str) -> RecordedRun:
    """Return a run by its id.

    Raises:
        NotFoundError: there is none.
    """
    from artifactfs.sdk.recorded import RecordedRun  # noqa: PLC0415 (artifacts and runs lead to each other)

    return RecordedRun.from_state(workspace, workspace.runs.get_run(run))


def find_runs(workspace: Workspace, node: str, direction: Direction) -> list[RecordedRun]:
    """Return the runs that are one step from a version: those that read it, or the one that made it."""
    from artifactfs.sdk.recorded import RecordedRun  # noqa: PLC0415 (see above)

    names = _find_names(workspace, node, direction, depth=1)
    return [RecordedRun.from_id(workspace, name) for name in names if is_run_id(name)]


def find_all(workspace: Workspace, node: str, direction: Direction) -> list[Artifact | RecordedRun]:
    """Return everything that a version or run was made from, or that was made from it, the nearest first."""
    from artifactfs.sdk.finding import VersionFinder  # noqa: PLC0415 (see above)
    from artifactfs.sdk.recorded import RecordedRun  # noqa: PLC0415 (see above)

    found: list[Artifact | RecordedRun] = []
    finder = VersionFinder(workspace)
    for name in _find_names(workspace, node, direction, depth=None):
        if is_run_id(name):
            found.append(RecordedRun.from_id(workspace, name))
        else:
            with suppress(NotFoundError):  # it was deleted just now, or a lock leaves it out
                found.append(finder.find(name))
    return found


def _find_names(workspace: Workspace, node: str, direction: Direction, *, depth: int | None) -> list[str]:
    from artifactfs.runs.lineage import open_lineage  # noqa: PLC0415 (loads LMDB)

    with open_lineage(workspace.repository, workspace.runs) as lineage:
        return lineage.find_recorded(node, direction, depth=depth)
