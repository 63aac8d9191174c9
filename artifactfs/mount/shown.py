"""Which versions mounts show, and in which processes stand: what prune must not take away.

Mounts of this runtime directory are looked at in /proc. Mounts of a local repository by whomever are asked by the locks
of `holds`: one that does not answer is taken to show all that was removed.

Threading: functions without state; what they return belongs to one thread.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from artifactfs.mount.holds import open_holds
from artifactfs.mount.options import Places
from artifactfs.mount.orders import LOCKED, REPOSITORY, VERSION
from artifactfs.mount.registry import iter_live
from artifactfs.mount.users import iter_held_paths
from artifactfs.paths import find_version_number

if TYPE_CHECKING:
    from artifactfs.mount.holds import Holds

PATIENCE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.005


class Shown:
    """Versions that somebody looks at, by collection and number, at the time this was made.

    Attributes:
        unanswered: how many mounts did not say what they show; then every version counts as shown.
    """

    def __init__(self, versions: frozenset[tuple[str, int]], holds: Holds | None, unanswered: int) -> None:
        self._versions = versions
        self._holds = holds
        self.unanswered = unanswered

    def __contains__(self, version: object) -> bool:
        """Return whether somebody looks at a version."""
        if self.unanswered or version in self._versions:
            return True
        return self._holds is not None and isinstance(version, tuple) and self._holds.is_held(version)


def find_shown(places: Places, repository_id: str, location: str, *, patience: float = PATIENCE_SECONDS) -> Shown:
    """Return what the mounts of a repository show.

    Args:
        places: of this user.
        repository_id: of the repository.
        location: where it lies.
        patience: seconds to wait for the answers of mounts.
    """
    holds = open_holds(location)
    unanswered = 0 if holds is None else _ask(holds, patience)
    versions = frozenset(iter_shown(places, repository_id)) if os.path.isdir(places.runtime) else frozenset()
    return Shown(versions, holds, unanswered)


def _ask(holds: Holds, patience: float) -> int:
    """Have all mounts of the whole repository hold the versions in which somebody stands; return how many did not."""
    question = secrets.randbits(59)
    holds.ask(question)
    end = time.monotonic() + patience
    while left := [mount for mount in holds.find_mounts() if not holds.is_answered(question, mount)]:
        if time.monotonic() >= end:
            break
        time.sleep(_PAUSE_SECONDS)
    return len(left)


def iter_shown(places: Places, repository_id: str) -> Iterator[tuple[str, int]]:
    """Yield collection and number of versions that are mounted, or in which a process has a file or directory open.

    A deleted version is no longer listed by a mount of the repository, but who is inside goes on reading.
    """
    folders = []
    for info in iter_live(places):
        if info.repository_id != repository_id:
            continue
        if info.kind == VERSION and info.collection is not None and info.version is not None:
            yield info.collection, info.version
        elif info.kind in (REPOSITORY, LOCKED):
            folders.append(info.mountpoint)
    yield from iter_inside(folders)


def iter_inside(mountpoints: list[str]) -> Iterator[tuple[str, int]]:
    """Yield collection and number of versions below mounts in which a process has a file or directory open."""
    folders = [mountpoint.rstrip("/") + "/" for mountpoint in mountpoints]
    if not folders:
        return
    for path in iter_held_paths():
        for folder in folders:
            if path.startswith(folder):
                yield from _parse_place(path[len(folder) :])


def _parse_place(path: str) -> Iterator[tuple[str, int]]:
    """Yield the version that a path inside a mount of the repository lies in."""
    # proc_pid_cwd(5): the name of what was removed ends in " (deleted)".
    parts = path.removesuffix(" (deleted)").split(os.sep)
    number = find_version_number(parts[1]) if len(parts) > 1 else None
    if number is not None:
        yield parts[0], number
