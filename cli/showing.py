"""What the mounts of this user show, for commands that take something away.

Threading: the main thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.repository.repository import Repository

    from .session import Session


def shown_versions(session: Session, repository: Repository) -> Callable[[], frozenset[tuple[str, int]]]:
    """Return a function that says which versions are mounted, or have a process inside, at the time it is called."""

    def find() -> frozenset[tuple[str, int]]:
        if not os.path.isdir(session.places.runtime):
            return frozenset()  # nothing has ever been mounted since the machine started
        from artifactfs.mount.api import iter_shown

        return frozenset(iter_shown(session.places, repository.id))

    return find
