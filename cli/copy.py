"""`artifactfs copy`: copy a version to another repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.errors import UsageError
from artifactfs.paths import parse_ref
from artifactfs.user_directories import find_location

from .completing import complete_ref
from .options import Command
from .output import format_count, format_size, print_json, version_fields
from .progress import show_progress
from .running import note_read, pin_ref
from .session import Session, current_session

if TYPE_CHECKING:
    from artifactfs.repository.copy import CopyResult
    from artifactfs.repository.repository import Repository


@click.command("copy", cls=Command)
@click.argument("ref", shell_complete=complete_ref)
@click.argument("target", metavar="TO-REPO")
@click.option("--as", "name", metavar="NAME", default="", help="The collection that gets it (default: the same name).")
@click.option("--alias", "aliases", multiple=True, help="An alias for the copy, besides latest; repeatable.")
@click.option("--with-aliases", is_flag=True, help="Give the copy the aliases that the version has.")
@click.option("--all", "all_versions", is_flag=True, help="Copy all versions of the collection that REF names.")
def command(
    ref: str, target: str, *, name: str, aliases: tuple[str, ...], with_aliases: bool, all_versions: bool
) -> None:
    """Copy the version REF of this repository to the repository TO-REPO, and print what it is called there.

    Only what is missing there is sent. The copy gets the next number there, and latest, unless a copy of a later
    version has that. It keeps description, metadata, tags and message, and says where it was made; by that it is
    known again, so that the same command makes no second copy, and goes on with what was interrupted.
    """
    session = current_session()
    location = find_location(target)
    with session.open_repository() as source, session.open_repository(location, create=True) as other:
        results = _copy_all(session, source, other, ref, (name, aliases, with_aliases), all_versions=all_versions)
    fields = [
        {**version_fields(result.collection, result.version), "created_here": result.created}
        | {"sent_files": result.files, "sent_size": result.size}
        for result in results
    ]
    if session.json:
        print_json({"repository": other.location, "versions": fields})
        return
    for result in results:
        click.echo(f"{result.collection.name}:{result.version.name}")


def _copy_all(
    session: Session,
    source: Repository,
    other: Repository,
    text: str,
    called: tuple[str, tuple[str, ...], bool],
    *,
    all_versions: bool,
) -> list[CopyResult]:
    from artifactfs.repository.copy import CopyOptions, copy_version

    ref = pin_ref(source, parse_ref(text))
    if ref.path:
        msg = f"{text} names an entry, and versions are copied whole"
        raise UsageError(msg, hint="leave the path out", subject=text)
    collection, chosen = source.resolve(ref)
    options = CopyOptions(*called)
    results = []
    versions = [collection.versions[number] for number in sorted(collection.versions)] if all_versions else [chosen]
    for version in versions:
        shown = f"{collection.name}:{version.name}"
        note_read(session, source, shown)
        with show_progress(session, f"copy {shown}") as progress:
            result = copy_version(source, other, (collection, version), options, progress=progress)
        results.append(result)
        copied = f"{result.collection.name}:{result.version.name} in {other.location}"
        amount = f"{format_count(result.files, 'file')}, {format_size(result.size)} sent"
        session.note(f"copied {shown} to {copied} ({amount})" if result.created else f"{shown} is {copied} already")
        if result.has_references:
            session.note(f"{shown} has references, which are read where they are")
    return results
