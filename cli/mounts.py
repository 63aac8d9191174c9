"""`artifactfs mounts`: list what is mounted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.clock import format_time_ns
from artifactfs.errors import MountError
from artifactfs.mount.described import describe_mount, find_stale_ns, mount_fields
from artifactfs.paths import printable

from .options import BytesPath, Command
from .output import print_json, print_table
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.mount.options import MountInfo

    from .session import Session


@click.command("mounts", cls=Command)
@click.argument("mountpoint", required=False, type=BytesPath())
@click.option("--watch", is_flag=True, help="Go on showing what the mounts do, until interrupted.")
def command(mountpoint: bytes | None, *, watch: bool) -> None:
    """List the live mounts of this user: where, what they show, and which process serves them.

    Those that lost their server are named on standard error. Where the service of a repository does not answer, so that
    collections are shown as they were last known, it is said since when.

    With MOUNTPOINT or --watch: also the transport, what was agreed on with the kernel, requests by kind, rates,
    latencies, bytes, workers and restarts.
    """
    from artifactfs.mount.api import iter_dead, iter_mounts

    session = current_session()

    def find() -> list[MountInfo]:
        found = sorted(iter_mounts(session.places), key=lambda info: info.mountpoint)
        return found if mountpoint is None else [_choose(found, mountpoint)]

    if mountpoint is not None or watch:
        from .mount_figures import show_figures

        show_figures(session, find, watch=watch)
        return
    found, dead = find(), list(iter_dead(session.places))
    if session.json:
        fields = [mount_fields(info, stale_ns=_find_stale_ns(session, info)) for info in found]
        print_json({"mounts": fields, "dead": [mount_fields(info) for info in dead]})
        return
    print_table(
        (
            printable(os.fsencode(info.mountpoint)),
            describe_mount(info),
            printable(os.fsencode(info.repository)),
            f"pid {info.pid}",
            _describe_stale(_find_stale_ns(session, info)),
        )
        for info in found
    )
    for info in dead:
        shown = printable(os.fsencode(info.mountpoint))
        session.note(f"{shown} has lost its server: `artifactfs umount {shown}` clears it, mounting there again, too")


def _find_stale_ns(session: Session, info: MountInfo) -> int | None:
    return find_stale_ns(info, state=session.places.state)


def _describe_stale(stale_ns: int | None) -> str:
    return "" if stale_ns is None else f"stale since {format_time_ns(stale_ns)}"


def _choose(found: list[MountInfo], mountpoint: bytes) -> MountInfo:
    from artifactfs.mount.mountpoint import is_dead, resolve_mountpoint

    path = resolve_mountpoint(os.fsdecode(mountpoint))
    for info in found:
        if info.mountpoint == path:
            return info
    if is_dead(path):
        shown = printable(os.fsencode(path))
        msg = f"the mount on {shown} has lost its server"
        raise MountError(msg, hint=f"`artifactfs umount {shown}` clears it", subject=path)
    msg = f"no artifactfs of this user is mounted on {printable(os.fsencode(path))}"
    raise MountError(msg, hint="`artifactfs mounts` lists what is mounted", subject=path)
