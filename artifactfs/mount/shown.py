"""Which versions the mounts of this user show, and which processes stand in: what prune must not take away.

Mounts of other users are not seen.

Threading: functions without state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from artifactfs.mount.options import Places
from artifactfs.mount.orders import LOCKED, REPOSITORY, VERSION
from artifactfs.mount.registry import iter_live
from artifactfs.mount.users import iter_held_paths
from artifactfs.paths import find_version_number


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
            folders.append(info.mountpoint.rstrip("/") + "/")
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
