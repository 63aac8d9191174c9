"""Printing lineage as OpenLineage events.

Used by `lineage`. Threading: the main thread.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click
import msgspec

from artifactfs.errors import ArtifactFSError, IntegrityError

from .session import current_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.repository.repository import Repository
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.state import RunState


def print_events(repository: Repository, runs: RunLog, nodes: Iterable[str]) -> None:
    """Print the events of runs (ids) and versions (each `NAME:vN`), one JSON object a line, in order of time."""
    from artifactfs.runs.events import is_run_id

    names, found = [], []
    for node in nodes:
        if not is_run_id(node):
            names.append(node)
        else:
            with suppress(ArtifactFSError):  # a run of another repository
                found.append(runs.get_run(node))
    _print(repository, runs, found, names)


def print_all_events(repository: Repository, runs: RunLog) -> None:
    """Print the events of all runs, and of all versions that no run made; which collections are damaged is told."""
    names = []
    for name in repository.collection_names():
        try:
            names += [f"{name}:{version.name}" for version in repository.get_collection(name).versions.values()]
        except IntegrityError as error:
            current_session().warn(f"{name} is left out: {error.message}")
    _print(repository, runs, list(runs.iter_runs()), names)


def _print(repository: Repository, runs: RunLog, found: list[RunState], names: list[str]) -> None:
    from artifactfs.interop.openlineage import OpenLineage

    for event in OpenLineage(repository, runs).iter_events(found, names):
        click.echo(msgspec.json.encode(event).decode())
