"""`artifactfs refresh`: look for what other machines did to a remote repository."""

from __future__ import annotations

import click

from .completing import complete_name
from .options import Command
from .output import print_json
from .session import current_session


@click.command("refresh", cls=Command)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
def command(names: tuple[str, ...]) -> None:
    """Read what is new in the logs of all collections, or of these, and print how many records each has.

    Commands do this by themselves for what they look at; mounts do it at their poll interval.
    """
    session = current_session()
    with session.open_repository() as repository:
        repository.refresh()
        chosen = list(names) or repository.collection_names()
        states = [repository.get_collection(name) for name in chosen]
    if session.json:
        found = [{"name": state.name, "records": state.seq, "head": state.head} for state in states]
        print_json({"repository": repository.location, "collections": found})
        return
    for state in states:
        click.echo(f"{state.name}\t{state.seq}")
