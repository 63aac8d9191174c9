"""What the commands that change a collection have in common.

Threading: the main thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.variables import RUN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactfs.model import Collection
    from artifactfs.repository.records import Body
    from artifactfs.repository.repository import Repository

    from .session import Session

message_option = click.option("-m", "--message", default="", help="The log message: why this was changed.")


def append(repository: Repository, name: str, change: Callable[[Collection], Body], *, message: str) -> Collection:
    """Record a change of a collection with its reason and, in a program of `artifactfs run`, its run; see `Repository`.

    Returns:
        The state after it.
    """
    state, _ = repository.append(name, change, message=message, run=os.environ.get(RUN_VARIABLE) or None)
    return state


def refresh(session: Session, repository: Repository, *, collection: str, names: Iterable[str]) -> None:
    """Make live mounts forget names of a collection that were removed."""
    if not os.path.isdir(session.places.runtime):
        return  # nothing has ever been mounted since the machine started
    from artifactfs.mount.api import refresh_name

    for name in names:
        refresh_name(session.places, repository.id, collection=collection, name=name)
