"""`artifactfs rm`: remove a version or a collection."""

from __future__ import annotations

import click

from artifactfs.errors import UsageError
from artifactfs.paths import parse_ref

from .changing import append, message_option, refresh
from .completing import complete_ref
from .options import Command
from .output import format_count, print_json
from .session import Session, current_session


@click.command("rm", cls=Command)
@click.argument("ref", metavar="NAME:VERSION", shell_complete=complete_ref)
@click.option("--collection", "is_collection", is_flag=True, help="Remove the collection NAME with all versions.")
@click.option("--force", is_flag=True, help="Remove the version though aliases name it; they go too.")
@message_option
def command(ref: str, *, is_collection: bool, force: bool, message: str) -> None:
    """Remove a version, or with --collection a whole collection. It asks first.

    The number of a removed version is never used again. What is stored stays until it is pruned.
    """
    session = current_session()
    if is_collection:
        _remove_collection(session, ref, message)
    else:
        _remove_version(session, ref, message, force=force)


def _remove_version(session: Session, ref: str, message: str, *, force: bool) -> None:
    from artifactfs.repository import changes

    parsed = parse_ref(ref)
    if parsed.selector is None or parsed.path:
        msg = f"{ref} does not name one version"
        raise UsageError(msg, hint=f"write {parsed.collection}:vN, or --collection {parsed.collection}", subject=ref)
    if parsed.staging is not None:
        msg = f"{ref} is a staging directory"
        raise UsageError(msg, hint=f"`artifactfs discard {ref}` removes it", subject=ref)
    with session.open_repository() as repository:
        collection, version = repository.resolve(parsed)
        name, number = collection.name, version.number
        changes.delete_version(collection, number=number, force=force)  # what it is refused for comes before a question
        session.confirm(f"Remove {name}:v{number}?")
        append(
            repository,
            name,
            lambda state: changes.delete_version(state, number=number, force=force),
            message=message,
        )
        refresh(session, repository, collection=name, names=[version.name, *collection.aliases_of(number)])
    if session.json:
        print_json({"removed": f"{name}:v{number}"})
    session.note(f"removed {name}:v{number}")


def _remove_collection(session: Session, ref: str, message: str) -> None:
    from artifactfs.repository import changes

    parsed = parse_ref(ref)
    if parsed.selector is not None or parsed.path:
        msg = f"{ref} is more than the name of a collection"
        raise UsageError(msg, hint=f"write --collection {parsed.collection}", subject=ref)
    with session.open_repository() as repository:
        collection = repository.get_collection(parsed.collection)
        count = format_count(len(collection.versions), "version")
        session.confirm(f"Remove the collection {collection.name} with {count}?")
        append(repository, collection.name, changes.delete_collection, message=message)
        names = [version.name for version in collection.versions.values()]
        refresh(session, repository, collection=collection.name, names=[*names, *collection.aliases])
    if session.json:
        print_json({"removed": collection.name})
    session.note(f"removed {collection.name}")
