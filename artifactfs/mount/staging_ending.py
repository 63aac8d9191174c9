"""Ending a staging directory that may be mounted: not shown any more, removed, and forgotten by the kernel.

Used by the command line through `api`, and by the socket in a mount. Not for a process that serves a mount.

Threading: functions without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.errors import BusyError
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.refreshing import refresh_name
from artifactfs.mount.staging_mounts import StagingKey, attach, release
from artifactfs.staging.layout import deciding

if TYPE_CHECKING:
    from artifactfs.mount.options import Places
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging, StagingArea


def end_staging(
    places: Places, repository: Repository, staging: Staging, area: StagingArea, *, unless_changed: bool = False
) -> None:
    """Stop showing a staging directory and remove it.

    Args:
        places: the user's directories.
        repository: the repository.
        staging: which.
        area: the repository's staging directories.
        unless_changed: keep it if something was changed since it was committed.

    Raises:
        BusyError: a process uses it or commits it, or something was written to it just now; it is still there.
    """
    with deciding(staging.layout):
        _end(places, repository, staging, area, unless_changed=unless_changed)


def _end(places: Places, repository: Repository, staging: Staging, area: StagingArea, *, unless_changed: bool) -> None:
    key = StagingKey(repository.id, staging.collection, staging.name)
    try:
        release(places, key)
    except BusyError as error:
        hint = (
            error.hint if find_mount(key.own_mountpoint(places)) is None else "leave it (cd elsewhere), then try again"
        )
        raise BusyError(error.message, hint=hint, subject=error.subject) from error
    try:
        if unless_changed and area.changes(staging):
            msg = f"something was written to {staging} after the commit"
            raise BusyError(msg, hint="commit again")
        area.remove(staging)
    except BaseException:
        attach(places, key, author=repository.author)
        raise
    refresh_name(places, repository.id, collection=staging.collection, name=f"@{staging.name}")
