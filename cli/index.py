"""`artifactfs index`: look after the index of this machine."""

from __future__ import annotations

import os

import click

from .options import Group
from .output import print_json
from .session import current_session


@click.group("index", cls=Group)
def command() -> None:
    """Look after the index of this machine."""


@command.command("rebuild")
def rebuild() -> None:
    """Drop the index and let it fill again by use. Nothing is lost by this; live mounts go on."""
    from artifactfs.index.epoch import begin_epoch
    from artifactfs.index.index import Index

    session = current_session()
    with session.open_repository() as repository:
        if isinstance(repository.index, Index):
            repository.index.drop()
        begin_epoch(repository.state_directory, random=os.urandom)
        names = repository.collection_names()
    if session.json:
        print_json({"repository": repository.location, "collections": len(names)})
    session.note(f"rebuilt the index of {repository.location}")
