"""`artifactfs doctor`: say what would keep a mount from working here."""

from __future__ import annotations

import click

from artifactfs.errors import MountError

from .options import Command
from .output import print_json
from .session import current_session


@click.command("doctor", cls=Command)
def command() -> None:
    """Say what on this machine would keep a mount from working, and how to mend it.

    The exit code is 60 if anything would.
    """
    from artifactfs.mount.api import diagnose

    session = current_session()
    findings = diagnose(session.places)
    if session.json:
        print_json(
            {
                "ok": all(finding.ok for finding in findings),
                "findings": [
                    {"name": found.name, "ok": found.ok, "message": found.message, "mend": found.mend}
                    for found in findings
                ],
            }
        )
    else:
        for found in findings:
            click.echo(f"{'ok ' if found.ok else 'BAD'}  {found.name}: {found.message}")
            if found.mend:
                click.echo(f"     mend: {found.mend}")
    if not all(finding.ok for finding in findings):
        click.get_current_context().exit(MountError.exit_code)
