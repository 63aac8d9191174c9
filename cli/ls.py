"""`artifactfs ls`: list collections, the versions of one, or the entries of a version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.clock import format_time_ns
from artifactfs.errors import IntegrityError
from artifactfs.model import DirectoryEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import join_path, parse_ref, printable
from artifactfs.reference.base import is_unverified
from artifactfs.reference.uris import redact_uri

from .completing import complete_ref
from .options import Command
from .output import (
    entry_fields,
    format_count,
    format_mode,
    format_moment,
    format_size,
    print_json,
    print_table,
    size_of,
    version_fields,
)
from .running import pin_ref
from .session import current_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import Collection, Entry, Version
    from artifactfs.paths import Ref
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.viewing import Viewed


@click.command("ls", cls=Command)
@click.argument("ref", required=False, shell_complete=complete_ref)
@click.option("-l", "--long", "long", is_flag=True, help="Print sizes, times and more.")
@click.option("-R", "--recursive", is_flag=True, help="List everything below, each with its path.")
def command(ref: str | None, *, long: bool, recursive: bool) -> None:
    """List collections; versions of NAME with their aliases; or entries of NAME:REF[/PATH].

    NAME/PATH lists entries of NAME:latest, NAME:@STAGING what a staging directory shows now.
    """
    with current_session().open_repository() as repository:
        if ref is None:
            _list_collections(repository, long=long)
            return
        parsed = parse_ref(ref)
        if parsed.selector is None and "/" not in ref:
            _list_versions(repository, repository.get_collection(parsed.collection), long=long)
        else:
            _list_entries(repository, pin_ref(repository, parsed), long=long, recursive=recursive)


def _list_collections(repository: Repository, *, long: bool) -> None:
    collections: list[Collection] = []
    damaged: IntegrityError | None = None
    for name in repository.collection_names():
        try:
            collections.append(repository.get_collection(name))
        except IntegrityError as error:  # the others are listed all the same
            damaged = error
            click.echo(f"artifactfs: {name} cannot be read: {error.message}", err=True)
    if current_session().json:
        print_json({"collections": [_collection_fields(collection) for collection in collections]})
    elif long:
        print_table(map(_collection_row, collections), right=(2,))
    else:
        print_table((collection.name,) for collection in collections)
    if damaged is not None:
        click.get_current_context().exit(damaged.exit_code)


def _collection_fields(collection: Collection) -> dict[str, object]:
    return {
        "collection": collection.name,
        "type": collection.type,
        "versions": len(collection.versions),
        "latest": _latest(collection) or None,
        "modified": format_time_ns(collection.time_ns),
    }


def _collection_row(collection: Collection) -> tuple[str, ...]:
    count = format_count(len(collection.versions), "version")
    return collection.name, collection.type, count, _latest(collection), format_moment(collection.time_ns)


def _latest(collection: Collection) -> str:
    number = collection.aliases.get("latest")
    return "" if number is None else f"v{number}"


def _list_versions(repository: Repository, collection: Collection, *, long: bool) -> None:
    staging = _staging_names(repository, collection.name)
    versions = [collection.versions[number] for number in sorted(collection.versions)]
    if current_session().json:
        print_json(
            {
                "collection": collection.name,
                "type": collection.type,
                "versions": [version_fields(collection, version) for version in versions],
                "aliases": {alias: f"v{number}" for alias, number in sorted(collection.aliases.items())},
                "staging": [f"{collection.name}:{name}" for name in staging],
            }
        )
        return
    rows = [(version.name, " ".join(collection.aliases_of(version.number)), version) for version in versions]
    if not long:
        print_table([(name, aliases) for name, aliases, _ in rows] + [(name, "") for name in staging])
        return
    _print_versions(rows)
    for name in staging:
        click.echo(name)


def _staging_names(repository: Repository, collection: str) -> list[str]:
    if not os.path.isdir(os.path.join(repository.state_directory, "staging", collection)):
        return []  # the usual case, which needs none of the modules for staging directories
    from artifactfs.staging.layout import iter_infos

    return [f"@{info.name}" for info in iter_infos(repository.state_directory, collection)]


def _print_versions(rows: list[tuple[str, str, Version]]) -> None:
    print_table(
        (
            (
                name,
                format_size(version.root.size),
                format_count(version.root.count, "file"),
                format_moment(version.time_ns),
                version.author,
                aliases,
                version.message.partition("\n")[0],
            )
            for name, aliases, version in rows
        ),
        right=(1, 2),
    )


def _list_entries(repository: Repository, ref: Ref, *, long: bool, recursive: bool) -> None:
    from artifactfs.repository.viewing import view

    viewed = view(repository, ref)
    entries = list(_iter_entries(viewed, ref.path, recursive=recursive))
    if current_session().json:
        print_json(
            {
                "ref": viewed.ref,
                "entries": [entry_fields(path, entry) for path, entry in entries],
            }
        )
    elif long:
        print_table((_entry_row(ref.path, path, entry) for path, entry in entries), right=(1,))
    else:
        print_table((_shown(ref.path, path),) for path, _ in entries)


def _iter_entries(viewed: Viewed, path: bytes, *, recursive: bool) -> Iterator[tuple[bytes, Entry]]:
    """Yield full entry paths with their entries; a path that is no directory yields itself."""
    trees, root = viewed.trees, viewed.root
    found, placement = viewed.get_placed(path)
    if not isinstance(found, DirectoryEntry):
        yield path, found
    elif recursive:
        yield from trees.iter_tree(root, path)
    else:
        for entry, _ in trees.load_entries(found, placement):
            yield join_path(path, entry.name), entry


def _shown(above: bytes, path: bytes) -> str:
    return printable(path[len(above) :].removeprefix(b"/") or path)


def _entry_row(above: bytes, path: bytes, entry: Entry) -> tuple[str, ...]:
    shown = _shown(above, path)
    if isinstance(entry, SymlinkEntry):
        shown = f"{shown} -> {printable(entry.target)}"
    if isinstance(entry, ReferenceEntry):
        shown = (
            f"{shown} = {printable(redact_uri(entry.uri).encode())}{' (unverified)' if is_unverified(entry) else ''}"
        )
    return format_mode(entry), str(size_of(entry)), format_moment(entry.mtime_ns), shown
