"""Working on staging directories from where only a mount can be seen: through the socket in it.

What is in a version, and in the staging directory, is read in the mount itself, with this user's own rights.

Used by `commit`, `status`, `diff`, `discard` and `restore`. Threading: the main thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.errors import MountError
from artifactfs.paths import DEFAULT_STAGING, parse_ref, printable

from .changes import change_fields, print_changes
from .lines import print_lines
from .output import format_count, print_json
from .staged import find_here, note_quota, working_directory
from .within import choose

if TYPE_CHECKING:
    from artifactfs.mount.api import Port
    from artifactfs.repository.diff import Change

    from .session import Session


@dataclass(frozen=True, slots=True)
class Inside:
    """A staging directory that is reached through the socket in a mount.

    Attributes:
        port: the mount's.
        collection: its collection.
        name: its name, without `@`.
        below: entry path of the working directory, if that lies in it.
    """

    port: Port
    collection: str
    name: str
    below: bytes | None = None

    def __str__(self) -> str:
        """Return its REF."""
        return f"{self.collection}:@{self.name}"

    @property
    def path(self) -> str:
        """Where it is in the mount."""
        return os.path.join(self.port.mountpoint, self.collection, f"@{self.name}")

    def find_version(self, ref: str | None) -> str | None:
        """Return where a version of its collection is in the mount; None for no version.

        Raises:
            MountError: this mount does not show it: it was deleted.
        """
        if ref is None:
            return None
        path = os.path.join(self.port.mountpoint, self.collection, ref.rpartition(":")[2])
        if not os.path.isdir(path):
            msg = f"{ref}, which {self} is compared with, is not shown in this mount any more"
            raise MountError(msg, hint="do this where the repository is", subject=ref)
        return path


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
        return Inside(port, rest[0], rest[1][1:], b"/".join(map(os.fsencode, rest[2:])))
    return None


def show_status(session: Session, inside: Inside) -> None:
    """Print what was changed, as `status` does."""
    answer = inside.port.find_changes(inside.collection, inside.name)
    if session.json:
        changes = [change_fields(change) for change in answer.changes]
        print_json({**answer.fields, "path": inside.path, "changes": changes})
        return
    print_changes(answer.changes)
    since = answer.since or "it was empty"
    session.note(f"{inside}: {format_count(len(answer.changes), 'change')} since {since}")
    note_quota(session, answer.fields)


def show_diff(session: Session, inside: Inside, paths: list[bytes], *, sizes: bool, lines: bool) -> bool:
    """Print what differs at or below paths, or anywhere, as `diff` does; return whether anything does."""
    answer = inside.port.find_changes(inside.collection, inside.name)
    found = choose(answer.changes, paths, top=os.fsencode(inside.path))
    if session.json:
        print_json({"old": answer.since, "new": str(inside), "changes": [change_fields(change) for change in found]})
    elif lines:
        _print_lines(inside, found, answer.since)
    else:
        print_changes(found, sizes=sizes)
    return bool(found)


def _print_lines(inside: Inside, changes: list[Change], since: str | None) -> None:
    from artifactfs.repository.textdiff import LocalSide

    old = inside.find_version(since)
    old_side = LocalSide(None if old is None else os.fsencode(old))
    print_lines(changes, old_side, LocalSide(os.fsencode(inside.path)))


def restore(session: Session, inside: Inside, paths: list[bytes]) -> list[tuple[bytes, str]]:
    """Take paths back to what they were, and return what was done to each."""
    from artifactfs.repository.restoring import ShownOriginal, restore_path

    answer = inside.port.find_changes(inside.collection, inside.name)
    top = inside.find_version(answer.since)
    original = ShownOriginal(None if top is None else os.fsencode(top))
    done: list[tuple[bytes, str]] = []
    for path in paths:
        done.append((path, restore_path(original, os.fsencode(inside.path), path, answer.changes)))
        session.note(f"{done[-1][1]} {printable(path)}")
    return done


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
