"""`artifactfs stage`: make a directory in which a version can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from artifactfs.errors import UsageError
from artifactfs.paths import DEFAULT_STAGING, LATEST, check_staging_name, parse_ref

from .completing import complete_ref
from .options import Command
from .output import print_json, print_path
from .running import current_run
from .session import current_session
from .staged import note_quota, staging_fields

if TYPE_CHECKING:
    from artifactfs.model import Version
    from artifactfs.mount.spare import Spare
    from artifactfs.paths import Ref
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging

    from .session import Session

AUTO: Final = "auto"
NONE: Final = "none"


@click.command("stage", cls=Command)
@click.argument("ref", metavar="NAME[:VERSION]", shell_complete=complete_ref)
@click.option("--name", default=DEFAULT_STAGING, show_default=True, help="Name of the staging directory, without @.")
@click.option(
    "--driver",
    type=click.Choice([AUTO, "overlay", "union"]),
    default=AUTO,
    show_default=True,
    help="What serves it: the kernel's overlayfs, artifactfs itself, or the best of them that works here.",
)
@click.option(
    "--quota",
    metavar="SIZE",
    help="What it may occupy on the disk at most, such as 200G, or `none`; changes that of one that exists.",
)
def command(ref: str, *, name: str, driver: str, quota: str | None) -> None:
    """Make a directory that shows a version and can be changed, and print where it is.

    A NAME that does not exist yet starts empty. The directory is shown as NAME/@STAGING in every mount of the
    repository; `commit` makes a version of it.
    """
    session = current_session()
    if quota is not None and _change_quota(session, ref, name=name, driver=driver, quota=quota):
        return
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


def _change_quota(session: Session, ref: str, *, name: str, driver: str, quota: str) -> bool:
    """Give the staging directory another quota, if it exists and nothing else is asked for; return whether it did."""
    from artifactfs.errors import NotFoundError
    from artifactfs.mount.api import tell_quota
    from artifactfs.repository.staging import StagingArea
    from artifactfs.repository.staging_quota import set_quota

    parsed = parse_ref(ref)
    if parsed.selector is not None or parsed.path or driver != AUTO:
        return False
    limit = _parse_quota(quota)
    try:
        with session.open_repository() as repository:
            staging = set_quota(StagingArea(repository).get(parsed.collection, name), limit)
            tell_quota(session.places, repository.id, staging=staging, quota=limit)
            fields = staging_fields(session, repository, staging)
    except NotFoundError:
        return False
    if session.json:
        print_json(fields)
    elif fields["path"] is not None:
        print_path(fields["path"])
    session.note(f"{staging} has {'no quota' if limit is None else 'another quota'} now")
    note_quota(session, fields)
    return True


def _parse_quota(text: str | None) -> int | None:
    from artifactfs.settings import parse_size

    return None if text is None or text == NONE else parse_size(text)


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

    parsed = parse_ref(ref)
    check_staging_name(name)
    if parsed.path or parsed.staging is not None:
        msg = f"{ref} does not name a version"
        raise UsageError(msg, hint="write NAME, NAME:vN or NAME:ALIAS", subject=ref)
    check_driver(driver)
    with session.open_repository(create=True) as repository:
        check_staging(session.places, repository.id)
        version = _find_version(repository, parsed)
        staging = StagingArea(repository, run=current_run()).create(
            parsed.collection,
            name=name,
            version=version,
            followed=parsed.alias if parsed.selector is not None else LATEST,
            driver=driver,
            quota=_parse_quota(quota),
        )
        path = attach_staging(session.places, repository, staging=staging, author=repository.author, spare=spare)
        return staging, version, path, staging_fields(session, repository, staging)


def _find_version(repository: Repository, ref: Ref) -> Version | None:
    collection = repository.find_collection(ref.collection)
    if ref.selector is None and (collection is None or not collection.versions):
        return None
    return repository.resolve(ref)[1]
