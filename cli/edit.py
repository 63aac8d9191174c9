"""`artifactfs edit`: change a version's description, metadata or tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.errors import UsageError
from artifactfs.paths import parse_ref

from .changing import append, message_option
from .committing import parse_metadata
from .completing import complete_ref
from .options import Command
from .output import print_json, version_fields
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.model import Collection
    from artifactfs.repository.records import Body


@click.command("edit", cls=Command)
@click.argument("ref", shell_complete=complete_ref)
@click.option("--description", help="The new description.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Set a value: JSON where it parses; repeatable.")
@click.option("--unset", multiple=True, metavar="KEY", help="Remove a metadata value; repeatable.")
@click.option("--tag", "tags", multiple=True, help="Add a tag; repeatable.")
@click.option("--untag", multiple=True, metavar="TAG", help="Remove a tag; repeatable.")
@message_option
def command(
    ref: str,
    *,
    description: str | None,
    metadata: tuple[str, ...],
    unset: tuple[str, ...],
    tags: tuple[str, ...],
    untag: tuple[str, ...],
    message: str,
) -> None:
    """Change the description, metadata or tags of the version that REF names. The data stays as it is."""
    from artifactfs.repository import changes

    session = current_session()
    if description is None and not (metadata or unset or tags or untag):
        msg = "nothing to change was given"
        raise UsageError(msg, hint="use --description, --metadata, --unset, --tag or --untag")
    parsed = parse_ref(ref)
    if parsed.path:
        msg = "a description, metadata and tags are those of a whole version, not of a path in one"
        raise UsageError(msg, subject=ref)
    new = parse_metadata(metadata)

    with session.open_repository() as repository:
        collection, version = repository.resolve(parsed)
        number = version.number

        def change(state: Collection) -> Body:
            old = changes.get_version(state, number)
            kept = {key: value for key, value in old.metadata.items() if key not in unset}
            return changes.edit(
                state,
                version=number,
                description=description,
                metadata={**kept, **new},
                tags=(set(old.tags) - set(untag)) | set(tags),
            )

        state = append(repository, collection.name, change, message=message)
    if session.json:
        print_json(version_fields(state, state.versions[number]))
    session.note(f"changed {collection.name}:v{number}")
