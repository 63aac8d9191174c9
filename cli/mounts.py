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
@click.argument("mountpoint", required=False, type=click.Path(path_type=bytes))
@click.option("--watch", is_flag=True, help="Go on showing what the mounts do, until interrupted.")
def command(mountpoint: bytes | None, *, watch: bool) -> None:
    """List the live mounts of this user: where, what they show, and which process serves them.

    With MOUNTPOINT or --watch: also the transport, what was agreed on with the kernel, requests by kind, rates,
    latencies, bytes, workers and restarts.
    """
    from artifactfs.mount.api import iter_mounts

    session = current_session()
    found = sorted(iter_mounts(session.places), key=lambda info: info.mountpoint)
    if mountpoint is not None or watch:
        from .mount_figures import show_figures

        wanted = None if mountpoint is None else os.path.realpath(os.fsdecode(mountpoint))
        show_figures(session, [info for info in found if wanted in (None, info.mountpoint)], watch=watch)
        return
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
