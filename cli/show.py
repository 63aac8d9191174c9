"""`artifactfs show`: describe a version or an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from artifactfs.paths import parse_ref

from .completing import complete_ref
from .options import Command
from .output import entry_fields, format_count, format_size, print_json, version_fields
from .running import pin_ref
from .session import current_session
from .staged import staging_fields

if TYPE_CHECKING:
    from artifactfs.paths import Ref
    from artifactfs.repository.repository import Repository


@click.command("show", cls=Command)
@click.argument("ref", shell_complete=complete_ref)
def command(ref: str) -> None:
    """Describe the version or staging directory that REF names, or with a path one of its entries."""
    session = current_session()
    with session.open_repository() as repository:
        fields = _describe(repository, pin_ref(repository, parse_ref(ref)))
        fields["repository"] = repository.location
    if session.json:
        print_json(fields)
        return
    for key, value in fields.items():
        if value not in (None, "", [], {}):
            click.echo(f"{key.replace('_', ' ') + ':':<16} {_as_text(key, value)}")


def _describe(repository: Repository, ref: Ref) -> dict[str, Any]:
    from artifactfs.repository.viewing import view

    if not ref.path and ref.staging is None:
        return {**version_fields(*repository.resolve(ref))}
    viewed = view(repository, ref)
    if ref.path:
        return {"ref": viewed.ref, **entry_fields(ref.path, viewed.get_placed(ref.path)[0])}
    assert viewed.staging is not None
    root = viewed.root
    return {
        **staging_fields(current_session(), repository, viewed.staging),
        "digest": root.tree,
        "content_digest": root.content,
        "size": root.size,
        "files": root.count,
    }


def _as_text(key: str, value: Any) -> str:
    if key == "size":
        return f"{format_size(value)} ({format_count(value, 'byte')})"
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return str(value)
