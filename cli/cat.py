"""`artifactfs cat`: print a file of a version."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import click

from artifactfs.paths import parse_ref, printable

from .completing import complete_ref
from .naming import naming_in_errors
from .options import Command
from .output import write_bytes
from .running import note_read, pin_ref
from .session import current_session

CHUNK: Final = 1 << 20


@click.command("cat", cls=Command)
@click.argument("ref", metavar="REF/PATH", shell_complete=complete_ref)
def command(ref: str) -> None:
    """Print a file of a version on standard output, verified; or one of a staging directory, as it is now."""
    from artifactfs.repository.viewing import view

    session = current_session()
    with session.open_repository() as repository:
        parsed = pin_ref(repository, parse_ref(ref))
        viewed = view(repository, parsed)
        with (
            naming_in_errors(f"{viewed.ref}/{printable(parsed.path)}"),
            closing(viewed.open_file(parsed.path)) as file,
        ):
            if viewed.staging is None:
                note_read(session, repository, viewed.ref, path=parsed.path, size=file.size)
            offset = 0
            while data := file.read_at(offset, CHUNK):
                write_bytes(data)
                offset += len(data)
