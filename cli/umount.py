"""`artifactfs umount`: unmount."""

from __future__ import annotations

import os

import click

from artifactfs.paths import printable

from .options import BytesPath, Command
from .output import name_fields, print_json
from .running import refuse_in_run
from .session import current_session


@click.command("umount", cls=Command)
@click.argument("mountpoint", type=BytesPath())
@click.option("--lazy", is_flag=True, help="Take it away at once; who has files of it open keeps them.")
def command(mountpoint: bytes, *, lazy: bool) -> None:
    """Unmount what is mounted at MOUNTPOINT. Staging directories keep what is in them."""
    from artifactfs.mount.api import unmount

    session = current_session()
    refuse_in_run("unmount")
    unmount(session.places, os.fsdecode(mountpoint), lazy=lazy)
    if session.json:
        print_json(name_fields("unmounted", os.path.abspath(mountpoint)))
    session.note(f"unmounted {printable(mountpoint)}")
