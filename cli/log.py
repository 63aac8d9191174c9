"""`artifactfs log`: list what happened to a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from artifactfs.clock import format_time_ns
from artifactfs.paths import parse_ref
from artifactfs.repository import records

from .completing import complete_name
from .options import Command
from .output import format_moment, print_json
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.repository.records import Body, Record


@click.command("log", cls=Command)
@click.argument("name", shell_complete=complete_name)
def command(name: str) -> None:
    """List the changes of a collection, the newest first."""
    session = current_session()
    with session.open_repository() as repository:
        collection = repository.get_collection(parse_ref(name).collection)
        found = list(repository.log.iter_records(collection.name))
    found.reverse()
    if session.json:
        print_json({"collection": collection.name, "records": [_record_fields(record) for record in found]})
        return
    for record in found:
        click.echo(f"{record.seq:>4}  {format_moment(record.time_ns)}  {record.author}  {describe_body(record.body)}")
        for line in record.message.splitlines():
            click.echo(f"      {line}")


def _record_fields(record: Record) -> dict[str, Any]:
    body = msgspec.to_builtins(record.body)
    for member in ("version", "base"):
        if body.get(member) is not None:
            body[member] = f"v{body[member]}"
    if "expires_ns" in body:
        body["expires"] = format_time_ns(body.pop("expires_ns"))
    if isinstance(record.body, records.Commit):
        root = record.body.root
        body["root"] = {"digest": root.tree, "content_digest": root.content, "size": root.size, "files": root.count}
    return {
        "seq": record.seq,
        "time": format_time_ns(record.time_ns),
        "author": record.author,
        "message": record.message,
        "run": record.run,
        "change": body,
    }


def describe_body(body: Body) -> str:  # noqa: PLR0911 (one for each kind)
    """Return what a record's body says, as a line for people."""
    match body:
        case records.Commit():
            return f"committed v{body.version} ({', '.join(body.aliases)})"
        case records.SetAliases():
            return f"set {', '.join(body.aliases)} to v{body.version}"
        case records.RemoveAliases():
            return f"removed the alias {', '.join(body.aliases)}"
        case records.DeleteVersion():
            return f"deleted v{body.version}"
        case records.DeleteCollection():
            return "deleted the collection"
        case records.Edit():
            return f"edited v{body.version}"
        case records.Pin():
            return f"pinned v{body.version}: {body.purpose}"
        case records.Unpin():
            return f"removed the pin {body.pin}"
        case records.Relocate():
            return f"moved the stored tree of v{body.version}"
