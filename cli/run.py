"""`artifactfs run`: run a program, and record what it reads and makes."""

from __future__ import annotations

import os

import click

from .committing import parse_metadata
from .options import Command, lock_option
from .session import current_session


@click.command("run", cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("--name", default="", help="A name for people.")
@click.option("--job-type", default="", metavar="TYPE", help="What kind of work it is, such as train.")
@click.option("--project", default="", help="What it belongs to.")
@click.option("--notes", default="", help="Free text.")
@click.option("--tag", "tags", multiple=True, help="A tag; repeatable.")
@click.option("--config", multiple=True, metavar="KEY=VALUE", help="JSON where it parses; repeatable.")
@click.option("--no-bind", is_flag=True, help="Only set ARTIFACTFS_MOUNT; do not show the view over the mount point.")
@lock_option()
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(  # noqa: PLR0913 - one argument for each option
    program: tuple[str, ...],
    *,
    name: str,
    job_type: str,
    project: str,
    notes: str,
    tags: tuple[str, ...],
    config: tuple[str, ...],
    no_bind: bool,
    lock: bytes | None,
) -> None:
    """Run COMMAND as a run: the versions that it enters in the mount are its inputs, those it commits its outputs.

    Aliases stay as they are while it runs. Its exit status is passed on, or 128 and the number of the signal that
    ended it. What processes in the background read after COMMAND has ended is recorded, too, until they end.

    With --lock it sees the versions of the lock file, and no others, in the mount and through Python.
    """
    from artifactfs.sdk.programs import run_program
    from artifactfs.sdk.workspace import find_workspace

    session = current_session()
    workspace = find_workspace(session.places.repository)
    details = {
        "name": name,
        "job_type": job_type,
        "project": project,
        "notes": notes,
        "tags": tags,
        "config": parse_metadata(config),
    }
    try:
        path = None if lock is None else os.path.abspath(os.fsdecode(lock))
        result = run_program(
            workspace,
            program,
            details=details,
            bind=not no_bind,
            lock=path,
            tell_unseen=lambda places: session.warn(f"what is read below {', '.join(places)} is not recorded"),
        )
    finally:
        workspace.close()
    if not result.mountpoint:
        session.note("nothing is mounted by the kernel transport: only what commands and Python read is recorded")
    if result.goes_on:
        session.note("processes that it started go on; what they read is recorded until they end")
    if result.unrecorded:
        session.warn(f"the end of the run is not recorded yet, `artifactfs runs` tries again: {result.unrecorded}")
    session.note(f"run {result.run} ended with {result.exit_code}")
    click.get_current_context().exit(result.exit_code)
