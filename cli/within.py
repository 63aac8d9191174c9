"""Paths inside the staging directory that we are in: relative to the working directory, as git has them.

`restore` and `diff` take such paths, or names. Which of the two an argument is follows from how it is written, else
from what there is: `./` in front makes it a path.

Threading: the main thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.errors import ArtifactFSError, EntryNotFoundError, InvalidPathError, UsageError
from artifactfs.paths import parse_ref, printable, split_path

from .staged import find_here, working_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.paths import Ref
    from artifactfs.repository.diff import Change

    from .session import Session
    from .staged import Here


@dataclass(frozen=True, slots=True)
class Within:
    """The staging directory that the working directory lies in.

    Attributes:
        collection: its collection.
        top: where it is seen.
        below: entry path of the working directory.
        shown: where it is in a mount, which may be a link to `top`; None where no mount shows it.
    """

    collection: str
    top: bytes
    below: bytes
    shown: bytes | None

    def resolve(self, path: bytes) -> bytes:
        """Return the entry path that a path relative to the working directory names; b"" for the top.

        Raises:
            UsageError: it is empty.
            InvalidPathError: it leads out of the staging directory.
        """
        if not path:
            msg = "'' is no path in a staging directory"
            raise UsageError(msg, hint="write `.` for the working directory and all that is in it")
        # No link is followed on the way: `..` is what is written before it less.
        found = os.path.normpath(os.path.join(self.top, self.below, path))
        for top in (self.top, self.shown):
            if top is not None and (found == top or found.startswith(top + b"/")):
                return b"/".join(split_path(found[len(top) + 1 :]))
        msg = f"{printable(path)} is not in this staging directory"
        raise InvalidPathError(msg, subject=printable(path))

    def names_collection(self, argument: bytes, *, may_go_on: bool = False) -> bool:
        """Return whether an argument is a NAME rather than a path; or `may_go_on`, NAME/PATH."""
        ref = _find_ref(argument)
        if ref is None or ref.selector is not None or (ref.path and not may_go_on) or os.path.lexists(argument):
            return False
        if ref.collection == self.collection:
            return True
        if self.shown is None:
            return False
        return os.path.isdir(os.path.join(self.shown.rpartition(b"/")[0], b"..", os.fsencode(ref.collection)))


def names_version(argument: bytes) -> bool:
    """Return whether an argument is written as no path need be: NAME:VERSION or NAME:@STAGING."""
    ref = _find_ref(argument)
    return ref is not None and ref.selector is not None


def names_staging(argument: bytes) -> bool:
    """Return whether an argument is written NAME:@STAGING."""
    ref = _find_ref(argument)
    return ref is not None and ref.staging is not None and not ref.path


def find_within(session: Session) -> Within | None:
    """Return the staging directory that the working directory lies in, in whoever's mount; None outside of any."""
    from .inside import find_inside

    directory = os.fsencode(working_directory())
    here = find_here(session, os.fsdecode(directory))
    inside = find_inside(session, None) if here is None else None
    found = here or inside
    if found is None or found.below is None:
        return None
    top = directory[: len(directory) - len(found.below)].rstrip(b"/") if found.below else directory
    shown = inside.path if inside is not None else None if here is None else _find_shown(session, here)
    return Within(found.collection, top, found.below, None if shown is None else os.fsencode(shown))


def _find_shown(session: Session, here: Here) -> str | None:
    """Return where a mount of the repository shows a staging directory."""
    from artifactfs.mount.api import iter_mounts

    wanted = ("repository", here.info.repository_id, here.info.repository)
    for info in [here.info] if here.info.kind == "repository" else iter_mounts(session.places):
        if (info.kind, info.repository_id, info.repository) == wanted:
            return os.path.join(info.mountpoint, here.collection, f"@{here.name}")
    return None


def choose(changes: Sequence[Change], paths: Sequence[bytes], *, top: bytes) -> list[Change]:
    """Return what differs at or below some paths; all for none.

    Args:
        changes: all that differs.
        paths: entry paths.
        top: where the staging directory is seen.

    Raises:
        EntryNotFoundError: there is nothing at a path, neither before nor now.
    """
    if not paths:
        return list(changes)
    for path in paths:
        if path and not os.path.lexists(os.path.join(top, path)) and not any(_is_at(each, path) for each in changes):
            msg = f"there is no {printable(path)}, neither before nor now"
            raise EntryNotFoundError(msg, subject=printable(path))
    return [change for change in changes if any(_is_at(change, path) for path in paths)]


def _is_at(change: Change, path: bytes) -> bool:
    at = (change.path, change.old_path)
    return not path or any(each is not None and (each == path or each.startswith(path + b"/")) for each in at)


def _find_ref(argument: bytes) -> Ref | None:
    try:
        return parse_ref(os.fsdecode(argument))
    except ArtifactFSError:
        return None
