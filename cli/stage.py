"""`artifactfs stage`: make a directory in which a version can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artifactfs.errors import UsageError
from artifactfs.paths import DEFAULT_STAGING, LATEST, check_staging_name, parse_ref

from .completing import complete_ref
from .options import Command
from .output import print_json, print_path
from .session import current_session
from .staged import note_quota, staging_fields

if TYPE_CHECKING:
    from artifactfs.model import Version
    from artifactfs.mount.spare import Spare
    from artifactfs.paths import Ref
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging

    from .session import Session


@click.command("stage", cls=Command)
@click.argument("ref", metavar="NAME[:VERSION]", shell_complete=complete_ref)
@click.option("--name", default=DEFAULT_STAGING, show_default=True, help="Name of the staging directory, without @.")
@click.option(
    "--driver",
    type=click.Choice(["auto", "overlay", "union"]),
    default="auto",
    show_default=True,
    help="What serves it: the kernel's overlayfs, artifactfs itself, or the best of them that works here.",
)
@click.option("--quota", metavar="SIZE", help="What its files may occupy at most, such as 200G.")
def command(ref: str, *, name: str, driver: str, quota: str | None) -> None:
    """Make a directory that shows a version and can be changed, and print where it is.

    A NAME that does not exist yet starts empty. The directory is shown as NAME/@STAGING in every mount of the
    repository; `commit` makes a version of it.
    """
    session = current_session()
    with session.start_ahead("staging", is_wanted=_may_be_shown()) as spare:
        staging, version, path, fields = _stage(session, ref, name=name, driver=driver, quota=quota, spare=spare)
    if session.json:
        print_json(fields)
    elif path is not None:
        print_path(path)
    shown = "nothing" if version is None else f"{staging.collection}:{version.name}"
    session.note(f"{staging} starts with {shown}")
    note_quota(session, fields)
    if path is None:
        session.note("mount the repository to see it: artifactfs mount MOUNTPOINT")


def _may_be_shown() -> bool:
    """Return whether there are mounts of artifactfs, of whichever repository."""
    from artifactfs.mount.mountinfo import read_mounts

    return any(line.is_ours for line in read_mounts())


def _stage(
    session: Session, ref: str, *, name: str, driver: str, quota: str | None, spare: Spare | None
) -> tuple[Staging, Version | None, str | None, dict[str, Any]]:
    """Make a staging directory and show it; return it, its version, where it is shown, and its members in JSON."""
    from artifactfs.mount.api import attach_staging, check_driver, check_staging
    from artifactfs.repository.staging import StagingArea
    from artifactfs.settings import parse_size

    parsed = parse_ref(ref)
    check_staging_name(name)
    if parsed.path or parsed.staging is not None:
        msg = f"{ref} does not name a version"
        raise UsageError(msg, hint="write NAME, NAME:vN or NAME:ALIAS", subject=ref)
    check_driver(driver)
    with session.open_repository(create=True) as repository:
        check_staging(session.places, repository.id)
        version = _find_version(repository, parsed)
        staging = StagingArea(repository).create(
            parsed.collection,
            name=name,
            version=version,
            followed=parsed.alias if parsed.selector is not None else LATEST,
            driver=driver,
            quota=None if quota is None else parse_size(quota),
        )
        path = attach_staging(session.places, repository, staging=staging, author=repository.author, spare=spare)
        return staging, version, path, staging_fields(session, repository, staging)


def _find_version(repository: Repository, ref: Ref) -> Version | None:
    collection = repository.find_collection(ref.collection)
    if ref.selector is None and (collection is None or not collection.versions):
        return None
    return repository.resolve(ref)[1]
