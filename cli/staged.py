"""What the commands on staging directories have in common: finding the one that is meant.

Threading: the main thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifactfs.errors import UsageError
from artifactfs.paths import DEFAULT_STAGING, parse_ref

if TYPE_CHECKING:
    from artifactfs.mount.options import MountInfo
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging, StagingArea

    from .session import Session


def find_staging_name(session: Session, ref: str | None) -> tuple[str, str]:
    """Return collection and name of the staging directory that is meant: by `ref`, else the one we are in.

    Being in one also decides which repository is used, unless --repo was given.

    Raises:
        UsageError: `ref` names something else, or there is none and the working directory is in no staging directory.
    """
    if ref is not None:
        parsed = parse_ref(ref)
        if parsed.path or (parsed.selector is not None and parsed.staging is None):
            msg = f"{ref} does not name a staging directory"
            raise UsageError(msg, hint=f"write {parsed.collection}, or {parsed.collection}:@NAME", subject=ref)
        return parsed.collection, parsed.staging or DEFAULT_STAGING
    found = find_here(session, working_directory())
    if found is None:
        msg = "this is not inside a staging directory, and none was named"
        raise UsageError(msg, hint="write NAME, or NAME:@STAGING")
    if session.repo is None:
        session.use_repository(found.info.repository)
    return found.collection, found.name


def staging_fields(session: Session, repository: Repository, staging: Staging) -> dict[str, Any]:
    """Return a staging directory as members of a JSON object."""
    from artifactfs.repository.staged import describe

    from .output import name_fields

    path = find_path(session, repository, staging)
    return {
        **describe(staging),
        **name_fields("upper", staging.upper),
        **({"path": None} if path is None else name_fields("path", path)),
    }


def note_quota(session: Session, fields: dict[str, Any]) -> None:
    """Say how much of its quota a staging directory uses, and whether anything keeps it below; nothing without one."""
    from .output import format_size

    quota = fields["quota"]
    if quota is None:
        return
    used = f"{format_size(fields['quota_used'])} of {format_size(quota)} used"
    if fields["quota_enforced_by"] == "commit":
        session.warn(f"the quota is not enforced here ({used}): commit refuses what is above it")
        return
    keeper = "the file system" if fields["quota_enforced_by"] == "project" else "the union driver"
    session.note(f"quota: {used}, kept by {keeper}")
    if fields["quota_used"] > quota:
        session.warn("that is more than the quota: nothing can be added, and commit refuses it")


def find_path(session: Session, repository: Repository, staging: Staging) -> str | None:
    """Return where a staging directory can be seen now, or None."""
    if not os.path.isdir(session.places.runtime):
        return None  # nothing has ever been mounted since the machine started
    from artifactfs.mount.api import find_staging_path

    return find_staging_path(session.places, repository.id, collection=staging.collection, name=staging.name)


def end_staging(
    session: Session, repository: Repository, staging: Staging, area: StagingArea, *, unless_changed: bool = False
) -> None:
    """Stop showing a staging directory and remove it; as `mount.api.end_staging`."""
    from artifactfs.mount import api

    os.chdir("/")  # standing inside would keep it in use
    api.end_staging(session.places, repository, staging, area, unless_changed=unless_changed)


def working_directory() -> str:
    """Return the working directory; the root when it is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


@dataclass(frozen=True, slots=True)
class Here:
    """A directory in a staging directory.

    Attributes:
        info: the mount of this user that it lies in.
        collection: of the staging directory.
        name: of the staging directory, without `@`.
        below: entry path of the directory.
    """

    info: MountInfo
    collection: str
    name: str
    below: bytes


def find_here(session: Session, directory: str) -> Here | None:
    """Return in which staging directory a directory lies, in a mount of this user."""
    if not os.path.isdir(session.places.runtime):
        return None
    from artifactfs.mount.api import iter_mounts

    for info in iter_mounts(session.places):
        rest = _below(directory, info.mountpoint)
        if rest is None:
            continue
        if info.collection is not None and info.staging is not None:
            return Here(info, info.collection, info.staging, _entry(rest))
        if info.kind == "repository" and len(rest) > 1 and rest[1].startswith("@"):
            return Here(info, rest[0], rest[1][1:], _entry(rest[2:]))
    return None


def _entry(names: list[str]) -> bytes:
    return b"/".join(map(os.fsencode, names))


def _below(directory: str, mountpoint: str) -> list[str] | None:
    """Return the names that lead from a mount point to a directory in it; None when it is elsewhere."""
    if directory != mountpoint and not directory.startswith(mountpoint.rstrip("/") + "/"):
        return None
    return [name for name in directory[len(mountpoint) :].split("/") if name]
