"""`artifactfs host`: make mounts belong to this machine, by systemd and by mount(8)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from .options import Command, Group
from .output import print_json, print_path
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.mount.service.host import HostFiles

root_option = click.option("--root", default="/", show_default=True, type=click.Path(), help="What stands for `/`.")


@click.group("host", cls=Group)
def command() -> None:
    """Install what lets systemd, fstab and mount(8) mount artifactfs on this machine."""


@command.command("install", cls=Command)
@root_option
def install(root: str) -> None:
    """Write the unit artifactfs@.service, and link the helpers of mount(8) and umount(8).

    Afterwards `systemctl daemon-reload` and `systemctl enable --now artifactfs@srv-artifactfs-artifacts` serve the
    repository at /srv/artifactfs/artifacts; so does a line of fstab with the type artifactfs.
    """
    from artifactfs.mount.service.host import install as write

    _show("installed", write(_files(root)))


@command.command("uninstall", cls=Command)
@root_option
def uninstall(root: str) -> None:
    """Remove what `host install` wrote. What is mounted stays mounted."""
    from artifactfs.mount.service.host import uninstall as remove

    _show("removed", remove(_files(root)))


@command.command("unit", cls=Command)
def unit() -> None:
    """Print the unit."""
    from artifactfs.mount.service.host import format_unit

    click.echo(format_unit(os.path.join(_files("/").programs, "artifactfs")), nl=False)


def _files(root: str) -> HostFiles:
    from artifactfs.mount.service.host import HostFiles

    return HostFiles(os.path.abspath(root), os.path.abspath(os.path.dirname(sys.executable)))


def _show(done: str, paths: list[str]) -> None:
    if current_session().json:
        print_json({done: paths})
        return
    for path in paths:
        print_path(path)
