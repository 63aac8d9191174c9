"""`artifactfs mounts`: list what is mounted."""

from __future__ import annotations

import os

import click

from artifactfs.paths import printable

from .mounting import describe_mount, mount_fields
from .options import Command
from .output import print_json, print_table
from .session import current_session


@click.command("mounts", cls=Command)
def command() -> None:
    """List the live mounts of this user: where, what they show, and which process serves them."""
    from artifactfs.mount.api import iter_mounts

    session = current_session()
    found = sorted(iter_mounts(session.places), key=lambda info: info.mountpoint)
    if session.json:
        print_json({"mounts": [mount_fields(info) for info in found]})
        return
    print_table(
        (
            printable(os.fsencode(info.mountpoint)),
            describe_mount(info),
            printable(os.fsencode(info.repository)),
            f"pid {info.pid}",
        )
        for info in found
    )
