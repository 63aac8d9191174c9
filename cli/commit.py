"""`artifactfs commit`: make a version of a staging directory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from artifactfs.errors import ArtifactFSError, BusyError, PartialError, UsageError

from .committing import in_run, make_options, note_output, print_result, version_options
from .completing import complete_staging
from .options import Command
from .session import Session, current_session
from .staged import end_staging, find_staging_name, get_staging

if TYPE_CHECKING:
    from artifactfs.repository.commit import CommitOptions
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging, StagingArea, StagingCommit

PAUSE_SECONDS: Final = 0.2


@click.command("commit", cls=Command)
@click.argument("ref", required=False, metavar="[NAME[:@STAGING]]", shell_complete=complete_staging)
@version_options
@click.option("--wait", is_flag=True, help="Wait until no file is open for writing.")
@click.option("--expect-base", is_flag=True, help="Fail if somebody else has made a version meanwhile.")
@click.option("--close", is_flag=True, help="Remove the staging directory afterwards.")
def command(ref: str | None, *, wait: bool, expect_base: bool, close: bool, **more: Any) -> None:
    """Make a version of what a staging directory shows, and print its name.

    Inside a staging directory no name is needed. Files that are open for writing stop it, and are named. The
    staging directory goes on afterwards, unless --close is given.
    """
    from artifactfs.repository.staging import StagingArea

    session = current_session()
    collection, name = find_staging_name(session, ref)
    options = make_options(**more)
    with session.open_repository() as repository:
        area = StagingArea(repository)
        staging = get_staging(area, collection, name)
        if expect_base:
            options = _expect_base(options, staging)
        options = in_run(repository, options)
        done = _commit(session, repository, area, staging, options, wait=wait)
        note_output(repository, options, done.result)
        print_result(session, done.result, name=collection, location=repository.location)
        _warn_of_move(session, done)
        if close:
            _close(session, repository, area, done)


def _expect_base(options: CommitOptions, staging: Staging) -> CommitOptions:
    followed = staging.info.followed
    if followed is None:
        msg = f"{staging} was made from a version number, which never moves"
        raise UsageError(msg, hint="leave --expect-base out, or stage an alias such as latest")
    return replace(options, expect_base=(followed, staging.info.followed_version))


def _commit(
    session: Session,
    repository: Repository,
    area: StagingArea,
    staging: Staging,
    options: CommitOptions,
    *,
    wait: bool,
) -> StagingCommit:
    from artifactfs.mount.api import MountFreezer

    freezer = MountFreezer(session.places, repository.id)
    said = False
    while True:
        try:
            return area.commit(staging, options, freezer=freezer)
        except BusyError as error:
            if not wait:
                raise
            if not said:
                session.note(f"waiting: {error.message}")
            said = True
        repository.clock.sleep(PAUSE_SECONDS)


def _warn_of_move(session: Session, done: StagingCommit) -> None:
    if done.moved is None:
        return
    alias, number = done.moved
    now = "was gone" if number is None else f"was v{number}"
    base = done.result.version.base
    made = "nothing" if base is None else f"v{base}"
    session.warn(f"{alias} {now} already; this version was made from {made} and does not have what is new there")


def _close(session: Session, repository: Repository, area: StagingArea, done: StagingCommit) -> None:
    try:
        end_staging(session, repository, done.staging, area, unless_changed=True)
    except ArtifactFSError as error:
        msg = f"{done.staging} was committed, but it was not removed: {error.message}"
        raise PartialError(msg, hint=error.hint or f"`artifactfs discard {done.staging}` removes it") from error
    session.note(f"removed {done.staging}")
