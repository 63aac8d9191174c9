"""`artifactfs index`: look after the index of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from .options import Group
from .output import print_json
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.repository.repository import Repository


@click.group("index", cls=Group)
def command() -> None:
    """Look after the index of this machine."""


@command.command("rebuild")
def rebuild() -> None:
    """Drop the index and let it fill again by use. Nothing is lost by this; live mounts go on.

    The graph of runs and versions is filled at once.
    """
    from artifactfs.runs.lineage import open_lineage

    from .runs import open_runs

    session = current_session()
    with session.open_repository() as repository:
        drop_index(repository)
        with open_lineage(repository, open_runs(repository)) as lineage:
            lineage.rebuild()
        names = repository.collection_names()
    if session.json:
        print_json({"repository": repository.location, "collections": len(names)})
    session.note(f"rebuilt the index of {repository.location}")


def drop_index(repository: Repository) -> None:
    """Drop the index, and begin a new epoch for later mounts."""
    from artifactfs.index.epochs import begin_epoch
    from artifactfs.index.index import Index

    if isinstance(repository.index, Index):
        repository.index.drop()
    begin_epoch(repository.state_directory, random=os.urandom)
