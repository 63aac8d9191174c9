"""`artifactfs restore`: take paths of a staging directory back to what they were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.errors import MountError, UsageError
from artifactfs.paths import printable, split_path

from .completing import complete_staging
from .inside import find_inside, restore
from .options import BytesPath, Command
from .output import name_fields, print_json
from .session import current_session
from .staged import find_path, find_staging_name
from .within import find_within, names_staging

if TYPE_CHECKING:
    from .session import Session


@click.command("restore", cls=Command)
@click.argument(
    "arguments",
    nargs=-1,
    required=True,
    metavar="[NAME[:@STAGING]] PATH...",
    type=BytesPath(),
    shell_complete=complete_staging,
)
def command(arguments: tuple[bytes, ...]) -> None:
    """Take paths of a staging directory back to the version that it is compared with.

    Inside a staging directory no name is needed, and a PATH is relative to the working directory; `.` is all that is
    there. After a NAME it is one from the top, such as images/cat.png. What was changed there is lost; what was deleted
    comes back, what was added goes. A directory is restored with all that is in it.
    """
    from artifactfs.repository.restoring import StoredOriginal, restore_path
    from artifactfs.repository.staging import StagingArea

    session = current_session()
    ref, entries = _find_meant(session, arguments)
    inside = find_inside(session, ref)
    if inside is not None:
        _print(session, str(inside), restore(session, inside, entries))
        return
    collection, name = find_staging_name(session, ref)
    done: list[tuple[bytes, str]] = []
    with session.open_repository() as repository:
        area = StagingArea(repository)
        staging = area.get(collection, name)
        top = find_path(session, repository, staging)
        if top is None:
            msg = f"{staging} is not mounted"
            raise MountError(msg, hint="restoring goes through a mount: artifactfs mount MOUNTPOINT")
        original = StoredOriginal(repository, area.present_root(staging))
        changes = area.changes(staging)
        for path in entries:
            done.append((path, restore_path(original, os.fsencode(top), path, changes)))
            session.note(f"{done[-1][1]} {printable(path)}")
    _print(session, str(staging), done)


def _find_meant(session: Session, arguments: tuple[bytes, ...]) -> tuple[str | None, list[bytes]]:
    """Return the staging directory that is named, if one is, and entry paths.

    Raises:
        UsageError: there is no PATH, or no NAME outside of a staging directory.
        InvalidPathError: a path leads out of the staging directory.
    """
    has_more = len(arguments) > 1
    within = None if has_more and names_staging(arguments[0]) else find_within(session)
    if within is not None and not (has_more and within.names_collection(arguments[0])):
        return None, [within.resolve(path) for path in arguments]
    if has_more:
        return os.fsdecode(arguments[0]), [_parse(path) for path in arguments[1:]]
    msg = "this is not inside a staging directory, so a NAME and a PATH are needed"
    raise UsageError(msg, hint="write NAME PATH, or NAME:@STAGING PATH")


def _parse(path: bytes) -> bytes:
    """Return a path below the top, which is b"".

    Raises:
        UsageError: it is the top of the machine.
        InvalidPathError: it is no path in a staging directory.
    """
    if path in (b".", b"./"):
        return b""
    if not path.strip(b"/"):
        msg = f"{printable(path) or repr('')} is no path in a staging directory"
        raise UsageError(msg, hint="write `.` for all of it")
    return b"/".join(split_path(path.rstrip(b"/")))


def _print(session: Session, staging: str, done: list[tuple[bytes, str]]) -> None:
    if session.json:
        print_json({"staging": staging, "paths": [{**name_fields("path", path), "done": what} for path, what in done]})
