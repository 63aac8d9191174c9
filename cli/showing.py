"""What mounts show, for commands that take something away.

Threading: the main thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import format_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.repository.prune import Shown
    from artifactfs.repository.repository import Repository

    from .session import Session


def shown_versions(session: Session, repository: Repository) -> Callable[[], Shown]:
    """Return a function that says which versions are mounted, or have a process inside, at the time it is called."""
    is_told = False

    def find() -> Shown:
        nonlocal is_told
        from artifactfs.mount.api import find_shown

        shown = find_shown(session.places, repository.id, repository.location)
        if shown.unanswered and not is_told:
            is_told = True
            mounts = format_count(shown.unanswered, "mount")
            session.note(f"{mounts} of this repository did not say what is read there; removed versions are kept")
        return shown

    return find
