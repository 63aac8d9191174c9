"""`artifactfs discard`: remove a staging directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.errors import ArtifactFSError

from .completing import complete_staging
from .inside import discard, find_inside
from .options import Command
from .output import format_count, print_json
from .running import current_run
from .session import current_session
from .staged import end_staging, find_staging_name

if TYPE_CHECKING:
    from artifactfs.repository.staging import Staging, StagingArea


@click.command("discard", cls=Command)
@click.argument("ref", required=False, metavar="[NAME[:@STAGING]]", shell_complete=complete_staging)
def command(ref: str | None) -> None:
    """Remove a staging directory; what was changed in it and not committed is lost, so it asks.

    Inside a staging directory no name is needed, but a shell that stays inside keeps it in use.
    """
    from artifactfs.repository.staging import StagingArea

    session = current_session()
    inside = find_inside(session, ref)
    if inside is not None:
        discard(session, inside)
        return
    collection, name = find_staging_name(session, ref)
    with session.open_repository() as repository:
        area = StagingArea(repository, run=current_run())
        staging = area.get(collection, name)
        lost = _describe_loss(area, staging)
        if lost:
            session.confirm(f"Discard {staging}? It has {lost}.")
        end_staging(session, repository, staging, area)
    if session.json:
        print_json({"discarded": str(staging)})
    session.note(f"removed {staging}")


def _describe_loss(area: StagingArea, staging: Staging) -> str:
    """Return what would be lost; "" when everything is committed."""
    try:
        changed = len(area.changes(staging))
    except ArtifactFSError:
        return "changes that cannot be read"  # a damaged one must be possible to discard, too
    return format_count(changed, "uncommitted change") if changed else ""
