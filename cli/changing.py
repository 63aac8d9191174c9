"""What the commands that remove names have in common.

Threading: the main thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.repository.repository import Repository

    from .session import Session


def refresh(session: Session, repository: Repository, *, collection: str, names: Iterable[str]) -> None:
    """Make live mounts forget names of a collection that were removed."""
    if not os.path.isdir(session.places.runtime):
        return  # nothing has ever been mounted since the machine started
    from artifactfs.mount.api import refresh_name

    for name in names:
        refresh_name(session.places, repository.id, collection=collection, name=name)
