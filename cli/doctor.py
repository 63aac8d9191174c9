"""`artifactfs doctor`: say what would keep a mount from working here."""

from __future__ import annotations

import os
from typing import Final

import click

from artifactfs.errors import MountError
from artifactfs.paths import printable

from .options import Command
from .output import name_fields, print_json
from .session import current_session

PLACES: Final = ("repository", "state", "cache", "runtime")


@click.command("doctor", cls=Command)
def command() -> None:
    """Print the places in use, and what on this machine would keep a mount from working, with the mend.

    The exit code is 60 if anything would.
    """
    from artifactfs.mount.api import diagnose

    session = current_session()
    places = {name: getattr(session.places, name) for name in PLACES}
    findings = diagnose(session.places)
    if session.json:
        print_json(
            {
                "ok": all(finding.ok for finding in findings),
                "places": {key: value for name in PLACES for key, value in name_fields(name, places[name]).items()},
                "findings": [
                    {"name": found.name, "ok": found.ok, "message": found.message, "mend": found.mend}
                    for found in findings
                ],
            }
        )
    else:
        for name, path in places.items():
            click.echo(f"     {name}: {printable(os.fsencode(path))}")
        for found in findings:
            click.echo(f"{'ok ' if found.ok else 'BAD'}  {found.name}: {found.message}")
            if found.mend:
                click.echo(f"     mend: {found.mend}")
    if not all(finding.ok for finding in findings):
        click.get_current_context().exit(MountError.exit_code)
