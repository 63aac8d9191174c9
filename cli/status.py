"""`artifactfs status`: list what was changed in a staging directory."""

from __future__ import annotations

import click

from artifactfs.paths import printable

from .changes import change_fields, print_changes
from .completing import complete_staging
from .inside import find_inside, show_status
from .options import Command
from .output import format_count, print_json
from .session import current_session
from .staged import find_staging_name, note_quota, staging_fields


@click.command("status", cls=Command)
@click.argument("ref", required=False, metavar="[NAME[:@STAGING]]", shell_complete=complete_staging)
def command(ref: str | None) -> None:
    """List what was changed in a staging directory since it was made or committed.

    Inside a staging directory no name is needed. The letters are those of `diff`.
    """
    from artifactfs.repository.staging import StagingArea

    session = current_session()
    inside = find_inside(session, ref)
    if inside is not None:
        show_status(session, inside)
        return
    collection, name = find_staging_name(session, ref)
    with session.open_repository() as repository:
        area = StagingArea(repository)
        staging = area.get(collection, name)
        found = area.changes(staging)
        fields = staging_fields(session, repository, staging)
    if session.json:
        print_json({**fields, "changes": [change_fields(change) for change in found]})
        return
    print_changes(found)
    place = "not mounted" if fields["path"] is None else f"at {printable(fields['path'].encode())}"
    since = fields["committed"] or fields["base"] or "it was empty"
    session.note(f"{staging} ({place}): {format_count(len(found), 'change')} since {since}")
    note_quota(session, fields)
    session.note(f"what was written is kept in {printable(staging.upper)}")
