"""`artifactfs put`: make a version of exactly the local paths given."""

from __future__ import annotations

from typing import Any

import click

from artifactfs.paths import check_collection_name

from .committing import in_run, make_options, note_output, print_result, version_options
from .completing import complete_name
from .options import BytesPath, Command
from .progress import show_progress
from .referring import Referring, reference_options
from .session import current_session


@click.command("put", cls=Command)
@click.argument("name", shell_complete=complete_name)
@click.argument("paths", nargs=-1, required=True, metavar="PATH|URI...", type=BytesPath())
@version_options
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out, as in gitignore(5); repeatable.")
@click.option("--skip-special", is_flag=True, help="Leave sockets, FIFOs and devices out instead of refusing them.")
@reference_options
@click.option(
    "--rehash", is_flag=True, help="Read every file, also one that did not change, and in a bucket what it has."
)
def command(
    name: str,
    paths: tuple[bytes, ...],
    *,
    exclude: tuple[str, ...],
    skip_special: bool,
    rehash: bool,
    referring: Referring,
    **more: Any,
) -> None:
    """Make a version of exactly the local paths and URIs given, and print its name.

    A directory keeps its name: `put animals images` gives images/cat.png. With a trailing slash, or as `.`, its
    contents are at the root. The same holds for URIs (s3://, gs://, az://, http://, https://, file:///); of these only
    references are kept, which are read where they are. What artifact://NAME:vN/PATH names, or with an alias, is taken
    over from that version without being copied; it stays when that version is deleted.
    """
    from artifactfs.repository.put import put_paths

    session = current_session()
    check_collection_name(name)
    options = make_options(**more)
    sources = referring.make_sources(paths)
    # What was fetched earlier says nothing of what the bucket has now.
    opened = session.open_repository(create=True, keeps=not rehash)
    with opened as repository, show_progress(session, f"put {name}") as progress:
        options = in_run(repository, options)
        result = put_paths(
            repository,
            name,
            sources,
            options,
            exclude=exclude,
            skip_special=skip_special,
            rehash=rehash,
            progress=progress,
        )
        note_output(repository, options, result)
    damaged = repository.blobs.damaged
    print_result(session, result, name=name, location=repository.location, options=options, damaged=damaged)
