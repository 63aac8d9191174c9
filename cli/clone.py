"""`artifactfs clone`: copy a repository, with its history."""

from __future__ import annotations

import click

from artifactfs.user_directories import find_location

from .options import Command
from .output import format_count, format_size, print_json
from .progress import show_progress
from .session import current_session


@click.command("clone", cls=Command)
@click.argument("source", metavar="FROM-REPO")
@click.argument("target", metavar="TO-REPO")
@click.option("--collection", "names", multiple=True, metavar="NAME", help="Only this collection; repeatable.")
def command(source: str, target: str, *, names: tuple[str, ...]) -> None:
    """Make TO-REPO a copy of the repository FROM-REPO: same id, same numbers, same history, verified on the way.

    The same command again brings the clone up to date. A clone that got changes of its own is refused: `copy` takes
    versions from one to the other. Without --collection everything is cloned, and what is recorded of runs; staging
    directories and what no version reaches are not.
    """
    from artifactfs.repository.clone import clone

    session = current_session()
    from_location, to_location = map(find_location, (source, target))
    with (
        session.open_repository(from_location, keeps=False) as original,
        session.open_repository(to_location, create=True, keeps=False, like=original.format) as other,
        show_progress(session, f"clone {source}") as progress,
    ):
        result = clone(original, other, names, progress=progress)
    if session.json:
        fields = {"collections": list(result.collections), "records": result.records, "runs": result.runs}
        print_json({"repository": other.location, **fields, "objects": result.objects, "size": result.size})
    else:
        click.echo(other.location)
    amount = f"{format_count(result.objects, 'object')}, {format_size(result.size)}"
    session.note(
        f"cloned {format_count(len(result.collections), 'collection')} "
        f"({format_count(result.records, 'new record')}, {amount})"
    )
