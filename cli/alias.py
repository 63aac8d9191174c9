"""`artifactfs alias`: point aliases to a version, or remove them."""

from __future__ import annotations

import click

from artifactfs.errors import UsageError
from artifactfs.paths import parse_ref

from .changing import append, message_option, refresh
from .completing import complete_name, complete_ref
from .options import Group
from .output import print_json
from .session import current_session


@click.group("alias", cls=Group)
def command() -> None:
    """Point aliases to a version, or remove them."""


@command.command("set")
@click.argument("ref", shell_complete=complete_ref)
@click.argument("aliases", nargs=-1, required=True, metavar="ALIAS...")
@message_option
def set_aliases(ref: str, *, aliases: tuple[str, ...], message: str) -> None:
    """Point aliases to the version that REF names; those that exist move."""
    from artifactfs.repository import changes

    session = current_session()
    parsed = parse_ref(ref)
    if parsed.path:
        msg = "an alias names a whole version, not a path in one"
        raise UsageError(msg, subject=ref)
    with session.open_repository() as repository:
        collection, version = repository.resolve(parsed)
        number = version.number
        append(
            repository,
            collection.name,
            lambda state: changes.set_aliases(state, version=number, aliases=aliases),
            message=message,
        )
    if session.json:
        print_json({"ref": f"{collection.name}:v{number}", "aliases": sorted(set(aliases))})
    session.note(f"{collection.name}:v{number} is {', '.join(aliases)} now")


@command.command("rm")
@click.argument("name", shell_complete=complete_name)
@click.argument("aliases", nargs=-1, required=True, metavar="ALIAS...")
@message_option
def remove_aliases(name: str, *, aliases: tuple[str, ...], message: str) -> None:
    """Remove aliases of a collection; the versions stay."""
    from artifactfs.repository import changes

    session = current_session()
    with session.open_repository() as repository:
        collection = repository.get_collection(name)
        append(repository, name, lambda state: changes.remove_aliases(state, aliases=aliases), message=message)
        refresh(session, repository, collection=collection.name, names=aliases)
    if session.json:
        print_json({"collection": name, "removed": sorted(set(aliases))})
    session.note(f"removed {', '.join(aliases)} from {name}")
