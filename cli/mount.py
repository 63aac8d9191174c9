"""`artifactfs mount`: show the repository, or one version, as a directory."""

from __future__ import annotations

import os

import click

from .mounting import mount_fields
from .options import Command
from .output import print_json, print_path
from .session import current_session


@click.command("mount", cls=Command)
@click.argument("mountpoint", type=click.Path(path_type=bytes))
@click.option("--artifact", metavar="REF", help="Show this one version as the root.")
@click.option("--foreground", is_flag=True, help="Serve in this process until it is ended or unmounted.")
@click.option("--allow-other", is_flag=True, help="Let other users in.")
@click.option("--uid", type=click.IntRange(0, 2**32 - 2), help="Owner of everything in it (default: this user).")
@click.option("--gid", type=click.IntRange(0, 2**32 - 2), help="Group of everything in it (default: this user's).")
def command(
    mountpoint: bytes, *, artifact: str | None, foreground: bool, allow_other: bool, uid: int | None, gid: int | None
) -> None:
    """Show every collection with its versions, aliases and staging directories at MOUNTPOINT.

    MOUNTPOINT is an empty directory. The mount can be read when the command returns.
    """
    from artifactfs.mount.api import MountOptions, mount

    session = current_session()
    with session.open_repository(create=artifact is None) as repository:
        if artifact is not None:
            from artifactfs.paths import parse_ref

            repository.resolve(parse_ref(artifact))  # a wrong name is answered here, with near misses
    options = MountOptions(
        artifact=artifact,
        allow_other=allow_other,
        uid=uid,
        gid=gid,
        foreground=foreground,
        author=session.find_author(),
    )
    session.note(f"mounting {artifact or repository.location} at {os.fsdecode(mountpoint)}")
    info = mount(session.places, os.fsdecode(mountpoint), options=options)
    if session.json:
        print_json(mount_fields(info))
    else:
        print_path(info.mountpoint)
