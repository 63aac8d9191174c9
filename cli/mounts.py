"""`artifactfs mounts`: list what is mounted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.errors import MountError
from artifactfs.mount.described import describe_mount, mount_fields
from artifactfs.paths import printable

from .options import BytesPath, Command
from .output import print_json, print_table
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.mount.options import MountInfo


@click.command("mounts", cls=Command)
@click.argument("mountpoint", required=False, type=BytesPath())
@click.option("--watch", is_flag=True, help="Go on showing what the mounts do, until interrupted.")
def command(mountpoint: bytes | None, *, watch: bool) -> None:
    """List the live mounts of this user: where, what they show, and which process serves them.

    With MOUNTPOINT or --watch: also the transport, what was agreed on with the kernel, requests by kind, rates,
    latencies, bytes, workers and restarts.
    """
    from artifactfs.mount.api import iter_mounts

    session = current_session()

    def find() -> list[MountInfo]:
        found = sorted(iter_mounts(session.places), key=lambda info: info.mountpoint)
        return found if mountpoint is None else [_choose(found, mountpoint)]

    if mountpoint is not None or watch:
        from .mount_figures import show_figures

        show_figures(session, find, watch=watch)
        return
    found = find()
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


def _choose(found: list[MountInfo], mountpoint: bytes) -> MountInfo:
    from artifactfs.mount.mountpoint import resolve_mountpoint

    path = resolve_mountpoint(os.fsdecode(mountpoint))
    for info in found:
        if info.mountpoint == path:
            return info
    msg = f"no artifactfs of this user is mounted on {printable(os.fsencode(path))}"
    raise MountError(msg, hint="`artifactfs mounts` lists what is mounted", subject=path)
