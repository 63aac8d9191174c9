"""`artifactfs put`: make a version of exactly the local paths given."""

from __future__ import annotations

import os
from typing import Any

import click

from artifactfs.paths import check_collection_name
from artifactfs.reference.uris import MAX_OBJECTS, is_uri

from .committing import in_run, make_options, note_output, print_result, version_options
from .completing import complete_name
from .options import BytesPath, Command
from .progress import show_progress
from .session import current_session


@click.command("put", cls=Command)
@click.argument("name", shell_complete=complete_name)
@click.argument("paths", nargs=-1, required=True, metavar="PATH|URI...", type=BytesPath())
@version_options
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out, as in gitignore(5); repeatable.")
@click.option("--skip-special", is_flag=True, help="Leave sockets, FIFOs and devices out instead of refusing them.")
@click.option("--no-checksum", is_flag=True, help="Record only size and time of what URIs name: unverified.")
@click.option(
    "--max-objects",
    type=click.IntRange(min=1),
    default=MAX_OBJECTS,
    show_default=True,
    help="How many objects a URI may name.",
)
@click.option("--allow-signed", is_flag=True, help="Keep signatures in URLs: readers of the version can use them.")
@click.option("--rehash", is_flag=True, help="Read every file, also one that was put before and did not change.")
def command(
    name: str,
    paths: tuple[bytes, ...],
    *,
    exclude: tuple[str, ...],
    skip_special: bool,
    rehash: bool,
    no_checksum: bool,
    max_objects: int,
    allow_signed: bool,
    **more: Any,
) -> None:
    """Make a version of exactly the local paths and URIs given, and print its name.

    A directory keeps its name: `put animals images` gives images/cat.png. With a trailing slash, or as `.`, its
    contents are at the root. The same holds for URIs (s3://, gs://, az://, http://, https://, file:///); of these only
    references are kept, which are read where they are. What artifact://NAME:vN/PATH names, or with an alias, is taken
    over from that version without being copied; it stays when that version is deleted.
    """
    from artifactfs.repository.put import Referred, Source, put_paths

    session = current_session()
    check_collection_name(name)
    options = make_options(**more)
    texts = [os.fsdecode(path) for path in paths]
    sources = [
        Referred(text, checksum=not no_checksum, max_objects=max_objects, allow_signed=allow_signed)
        if is_uri(text)
        else Source(os.fsencode(text))
        for text in texts
    ]
    with session.open_repository(create=True) as repository, show_progress(session, f"put {name}") as progress:
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
    print_result(session, result, name=name, location=repository.location)
