"""Working on staging directories from where only a mount can be seen: through the socket in it.

Used by `commit`, `status`, `diff` and `discard`. Threading: the main thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.paths import DEFAULT_STAGING, parse_ref

from .changes import change_fields, print_changes
from .output import format_count, print_json
from .staged import find_here, note_quota, working_directory

if TYPE_CHECKING:
    from artifactfs.mount.api import Port

    from .session import Session


@dataclass(frozen=True, slots=True)
class Inside:
    """A staging directory that is reached through the socket in a mount.

    Attributes:
        port: the mount's.
        collection: its collection.
        name: its name, without `@`.
    """

    port: Port
    collection: str
    name: str

    def __str__(self) -> str:
        """Return its REF."""
        return f"{self.collection}:@{self.name}"


def find_inside(session: Session, ref: str | None) -> Inside | None:
    """Return the staging directory that is meant, if it is to be reached through a mount.

    That is one in a mount that this user has not made, when we are inside that mount, or when there is no repository.
    With --repo it never is.
    """
    if session.repo is not None:
        return None
    from artifactfs.mount.api import find_port, iter_ports

    directory = working_directory()
    if find_here(session, directory) is not None:
        return None
    port = find_port(directory)
    if ref is None:
        return None if port is None else _find_in(port, directory)
    parsed = parse_ref(ref)
    if parsed.path or (parsed.selector is not None and parsed.staging is None):
        return None
    if port is None and not _has_repository(session):
        port = next(iter_ports(), None)
    return None if port is None else Inside(port, parsed.collection, parsed.staging or DEFAULT_STAGING)


def _has_repository(session: Session) -> bool:
    from artifactfs.blobstore.locations import is_remote

    location = session.places.repository
    return is_remote(location) or os.path.isdir(location)


def _find_in(port: Port, directory: str) -> Inside | None:
    rest = directory[len(port.mountpoint.rstrip("/")) :].split("/")[1:]
    if len(rest) > 1 and rest[1].startswith("@"):
        return Inside(port, rest[0], rest[1][1:])
    return None


def show_status(session: Session, inside: Inside) -> None:
    """Print what was changed, as `status` does."""
    answer = inside.port.find_changes(inside.collection, inside.name)
    if session.json:
        path = os.path.join(inside.port.mountpoint, inside.collection, f"@{inside.name}")
        changes = [change_fields(change) for change in answer.changes]
        print_json({**answer.fields, "path": path, "changes": changes})
        return
    print_changes(answer.changes)
    since = answer.since or "it was empty"
    session.note(f"{inside}: {format_count(len(answer.changes), 'change')} since {since}")
    note_quota(session, answer.fields)


def show_diff(session: Session, inside: Inside, *, sizes: bool) -> bool:
    """Print what differs, as `diff` does; return whether anything does."""
    answer = inside.port.find_changes(inside.collection, inside.name)
    if session.json:
        changes = [change_fields(change) for change in answer.changes]
        print_json({"old": answer.since, "new": str(inside), "changes": changes})
    else:
        print_changes(answer.changes, sizes=sizes)
    return bool(answer.changes)


def discard(session: Session, inside: Inside) -> None:
    """Remove it, after asking, as `discard` does."""
    os.chdir("/")  # standing inside would keep it in use
    lost = inside.port.discard(inside.collection, inside.name, sure=False)
    if lost:
        session.confirm(f"Discard {inside}? It has {format_count(lost, 'uncommitted change')}.")
    inside.port.discard(inside.collection, inside.name, sure=True)
    if session.json:
        print_json({"discarded": str(inside)})
    session.note(f"removed {inside}")
