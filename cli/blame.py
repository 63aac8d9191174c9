"""`artifactfs blame`: which version and run last changed a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from artifactfs.clock import format_time_ns
from artifactfs.errors import UsageError
from artifactfs.model import DirectoryEntry
from artifactfs.paths import parse_path, parse_ref, printable

from .completing import complete_ref
from .options import Command
from .output import format_moment, name_fields, print_json, print_table
from .running import pin_ref
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.repository.past import Origin


@click.command("blame", cls=Command)
@click.argument("ref", metavar="REF[/PATH]", shell_complete=complete_ref)
@click.argument("path", required=False)
def command(ref: str, path: str | None) -> None:
    """Say which version, person and run last changed the file at PATH, or each entry of a directory."""
    from artifactfs.repository.past import find_origins
    from artifactfs.repository.trees import Trees

    session = current_session()
    parsed = parse_ref(ref)
    if path is not None and parsed.path:
        msg = "the path is given twice"
        raise UsageError(msg, hint="artifactfs blame REF PATH")
    at = parsed.path if path is None else parse_path(os.fsencode(path))
    with session.open_repository() as repository:
        collection, version = repository.resolve(pin_ref(repository, parsed))
        origins = find_origins(Trees(repository.blobs), collection, version, at)
    if session.json:
        fields = [_origin_fields(collection.name, origin) for origin in origins]
        print_json({"ref": f"{collection.name}:{version.name}", "entries": fields})
        return
    print_table([_row(origin) for origin in origins])


def _row(origin: Origin) -> tuple[str, ...]:
    version = origin.version
    name = printable(origin.path) + ("/" if isinstance(origin.entry, DirectoryEntry) else "")
    run = f"run {version.run}" if version.run else "-"
    message = version.message.partition("\n")[0]
    return (version.name, format_moment(version.time_ns), version.author, run, name, message)


def _origin_fields(collection: str, origin: Origin) -> dict[str, Any]:
    version = origin.version
    return {
        **name_fields("path", origin.path),
        "ref": f"{collection}:{version.name}",
        "change": "added" if origin.is_first else "modified",
        "time": format_time_ns(version.time_ns),
        "author": version.author,
        "message": version.message,
        "run": version.run,
    }
