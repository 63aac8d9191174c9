"""`artifactfs show`: describe a version or an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from artifactfs.errors import ArtifactFSError
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
    from artifactfs.repository.viewing import Viewed


@click.command("show", cls=Command)
@click.argument("ref", shell_complete=complete_ref)
def command(ref: str) -> None:
    """Describe the version or staging directory that REF names, or with a path one of its entries.

    Of a version it is also said how many of its references are unverified: other bytes could come unnoticed.
    """
    session = current_session()
    with session.open_repository() as repository:
        fields = _describe(repository, pin_ref(repository, parse_ref(ref)))
        fields["repository"] = repository.location
    if session.json:
        print_json(fields)
        return
    for key, value in fields.items():
        if value not in (None, "", [], {}) and not (key == "unverified" and value == 0 and value is not False):
            click.echo(f"{key.replace('_', ' ') + ':':<16} {_as_text(key, value)}")


def _describe(repository: Repository, ref: Ref) -> dict[str, Any]:
    from artifactfs.repository.viewing import view

    viewed = view(repository, ref)
    if ref.path:
        return {"ref": viewed.ref, **entry_fields(ref.path, viewed.get_placed(ref.path)[0])}
    counted = {"unverified": _count_unverified(repository, viewed)}
    if viewed.staging is None:
        return {**version_fields(*repository.resolve(parse_ref(viewed.ref))), **counted}
    root = viewed.root
    return {
        **staging_fields(current_session(), repository, viewed.staging),
        "digest": root.tree,
        "content_digest": root.content,
        "size": root.size,
        "files": root.count,
        **counted,
    }


def _count_unverified(repository: Repository, viewed: Viewed) -> int | None:
    """Return how many references are unverified; None where a directory cannot be read, which is no hindrance here."""
    from artifactfs.repository.unverified import count_unverified

    try:
        return count_unverified(repository, viewed)
    except ArtifactFSError as error:
        current_session().note(f"unverified references were not counted: {error.message}")
        return None


def _as_text(key: str, value: Any) -> str:
    if key == "unverified" and not isinstance(value, bool):
        return format_count(value, "reference")
    if key == "size":
        return f"{format_size(value)} ({format_count(value, 'byte')})"
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return str(value)
