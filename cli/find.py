"""`artifactfs find`: list the versions for which a condition holds."""

from __future__ import annotations

import click

from .options import Command
from .output import format_moment, format_size, print_json, print_table, version_fields
from .session import current_session


@click.command("find", cls=Command)
@click.argument("query", nargs=-1, required=True)
@click.option("-l", "--long", "is_long", is_flag=True, help="Print types, sizes, times and more.")
@click.option("-n", "--number", type=click.IntRange(min=1), help="Stop after so many.")
def command(query: tuple[str, ...], *, is_long: bool, number: int | None) -> None:
    """List the versions for which QUERY holds, such as 'type=model and metadata.accuracy > 0.9 and tag=reviewed'.

    The exit code is 0 also when there are none.
    """
    from itertools import islice

    from artifactfs.repository.find import find_versions

    session = current_session()
    with session.open_repository() as repository:
        found = list(islice(find_versions(repository, " ".join(query)), number))
    if session.json:
        print_json({"versions": [version_fields(collection, version) for collection, version in found]})
        return
    if not is_long:
        for collection, version in found:
            click.echo(f"{collection.name}:{version.name}")
        return
    rows = [
        (
            f"{collection.name}:{version.name}",
            collection.type,
            format_size(version.root.size),
            format_moment(version.time_ns),
            ",".join(collection.aliases_of(version.number)) or "-",
            ",".join(version.tags) or "-",
        )
        for collection, version in found
    ]
    print_table(rows, right=(2,))
