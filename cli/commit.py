"""`artifactfs commit`: make a version of a staging directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from artifactfs.errors import ArtifactFSError, BusyError, PartialError
from artifactfs.variables import RUN_VARIABLE

from .committing import in_run, make_options, note_output, print_result, version_options
from .completing import complete_staging
from .inside import find_inside
from .options import Command
from .session import Session, current_session
from .staged import end_staging, find_path, find_staging_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.api import CommitAnswer
    from artifactfs.repository.commit import CommitOptions
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging, StagingArea, StagingCommit

    from .inside import Inside

PAUSE_SECONDS: Final = 0.2
_Done = TypeVar("_Done")


@click.command("commit", cls=Command)
@click.argument("ref", required=False, metavar="[NAME[:@STAGING]]", shell_complete=complete_staging)
@version_options
@click.option("--wait", is_flag=True, help="Wait until no file is open for writing.")
@click.option("--expect-base", is_flag=True, help="Fail if somebody else has made a version meanwhile.")
@click.option("--close", is_flag=True, help="Remove the staging directory afterwards.")
def command(ref: str | None, *, wait: bool, expect_base: bool, close: bool, **more: Any) -> None:
    """Make a version of what a staging directory shows, and print its name.

    Inside a staging directory no name is needed. Files that are open for writing stop it, and are named. The
    staging directory goes on afterwards, unless --close is given. In a mount that another user has made, as in a
    container, that user's repository makes the version, if you may write the staging directory's root.
    """
    from artifactfs.repository.staged import expecting_base
    from artifactfs.repository.staging import StagingArea

    session = current_session()
    options = make_options(**more)
    inside = find_inside(session, ref)
    if inside is not None:
        _commit_inside(session, inside, options, wait=wait, expect_base=expect_base, close=close)
        return
    collection, name = find_staging_name(session, ref)
    with session.open_repository() as repository:
        options = in_run(repository, options)
        area = StagingArea(repository, run=options.run)
        staging = area.get(collection, name)
        if expect_base:
            options = expecting_base(options, staging)
        done = _commit(session, repository, area, staging, options, wait=wait)
        note_output(repository, options, done.result)
        damaged, location = repository.blobs.damaged, repository.location
        print_result(session, done.result, name=collection, location=location, options=options, damaged=damaged)
        _warn_of_move(session, done)
        _warn_of_unnoted(session, done)
        if close:
            _close(session, repository, area, done)


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
    from artifactfs.repository.sweeping import sweep_scratch

    freezer = MountFreezer(session.places, repository.id)
    done = _repeat(session, lambda: area.commit(staging, options, freezer=freezer), wait=wait)
    top = find_path(session, repository, staging) if done.scratch else None
    if top is not None:
        sweep_scratch(os.fsencode(top), done.scratch)
    return done


def _commit_inside(
    session: Session, inside: Inside, options: CommitOptions, *, wait: bool, expect_base: bool, close: bool
) -> None:
    if close:
        os.chdir("/")  # standing inside would keep it in use

    run = os.environ.get(RUN_VARIABLE, "")

    def ask() -> CommitAnswer:
        port = inside.port
        return port.commit(inside.collection, inside.name, options, expect_base=expect_base, close=close, run=run)

    answer = _repeat(session, ask, wait=wait)
    print_result(session, answer.result, name=inside.collection, location=answer.location, options=options)
    _warn_of_move(session, answer)
    _warn_of_unnoted(session, answer)
    if run and answer.run != run:
        reason = answer.run_refused or "the server of this mount is of an earlier release"
        session.warn(f"that the version was made in the run {run} is not recorded: {reason}")
    if answer.closed:
        session.note(f"removed {inside}")


def _repeat(session: Session, commit: Callable[[], _Done], *, wait: bool) -> _Done:
    """Commit; while files are open for writing try again, if `wait` says so."""
    from artifactfs.clock import SystemClock

    clock, said = SystemClock(), False
    while True:
        try:
            return commit()
        except BusyError as error:
            if not wait:
                raise
            if not said:
                session.note(f"waiting: {error.message}")
            said = True
        clock.sleep(PAUSE_SECONDS)


def _warn_of_move(session: Session, done: StagingCommit | CommitAnswer) -> None:
    if done.moved is None:
        return
    alias, number = done.moved
    now = "was gone" if number is None else f"was v{number}"
    base = done.result.version.base
    made = "nothing" if base is None else f"v{base}"
    session.warn(f"{alias} {now} already; this version was made from {made} and does not have what is new there")


def _warn_of_unnoted(session: Session, done: StagingCommit | CommitAnswer) -> None:
    if done.unnoted:
        session.warn(f"the version was made, but the staging directory is not compared with it: {done.unnoted}")


def _close(session: Session, repository: Repository, area: StagingArea, done: StagingCommit) -> None:
    try:
        end_staging(session, repository, done.staging, area, unless_changed=True)
    except ArtifactFSError as error:
        msg = f"{done.staging} was committed, but it was not removed: {error.message}"
        raise PartialError(msg, hint=error.hint or f"`artifactfs discard {done.staging}` removes it") from error
    session.note(f"removed {done.staging}")
