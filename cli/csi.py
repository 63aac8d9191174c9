"""`artifactfs csi`: the CSI node plugin for Kubernetes."""

from __future__ import annotations

import logging
import os

import click

from .options import Command
from .session import current_session


@click.command("csi", cls=Command)
@click.option(
    "--endpoint", metavar="unix:///PATH", envvar="CSI_ENDPOINT", required=True, help="The socket to answer at."
)
@click.option("--mount", "mountpoint", default="/srv/artifactfs/artifacts", show_default=True, type=click.Path(),
              help="The one mount; it is made if it is not there.")  # fmt: skip
@click.option("--node-id", envvar="NODE_ID", metavar="NAME", help="Name of this node (default: the host's).")
@click.option("--driver-name", default="csi.artifactfs", show_default=True, help="As the CSIDriver object names it.")
def command(endpoint: str, *, mountpoint: str, node_id: str | None, driver_name: str) -> None:
    """Answer kubelet as a CSI node plugin, until ended: volumes of pods, bound from one mount.

    Each volume is inline, with the attributes artifact, mode (ro, staging), pin and atEnd (keep, commit, discard).
    """
    from artifactfs.errors import UsageError
    from artifactfs.mount.api import MountOptions

    try:
        from artifactfs.serve.csi.server import Server
        from artifactfs.serve.csi.services import Names
    except ModuleNotFoundError as error:
        msg = f"the CSI plugin needs the module {error.name}"
        raise UsageError(msg, hint="pip install 'artifactfs[csi]'") from error
    session = current_session()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    remote = session.find_served()
    options = MountOptions(
        allow_other=True,
        keep=True,
        make_directory=True,
        author=session.find_author(),
        follow_references=session.find_followed(for_others=True),
        poll_seconds=remote.poll_seconds,
        limits=remote.limits,
    )
    names = Names(driver_name, node_id or os.uname().nodename)
    with session.open_repository(create=True) as repository:
        Server(session.places, repository, names=names, mountpoint=mountpoint, options=options).run(endpoint)
