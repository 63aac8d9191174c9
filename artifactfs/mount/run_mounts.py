"""Where a run sees its view: in each mount of the repository that can show one, and in mounts of one version.

Used by whoever runs programs. Threading: functions without state.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.mount.api import iter_mounts
from artifactfs.mount.orders import REPOSITORY, STAGING, VERSION

if TYPE_CHECKING:
    from artifactfs.mount.options import MountInfo, Places


@dataclass(frozen=True, slots=True)
class RunMounts:
    """What a run's program can be shown.

    Attributes:
        shown: directories and the mount points over which they can be bound, in that order; those of one version are
            the first, because they lie in a view that may then be covered.
        main: the mount point whose view the program is told of; empty when no mount shows it.
        view: that view.
        unseen: this user's mount points below which nothing is recorded.
    """

    shown: tuple[tuple[str, str], ...] = ()
    main: str = ""
    view: str = ""
    unseen: tuple[str, ...] = ()


def find_run_mounts(places: Places, repository_id: str, *, run: str) -> RunMounts:
    """Return where a run can see its view, which must have been begun.

    Only whole repositories served by the kernel transport show views. The oldest mount is the main one. Mounts of other
    users are not known of.
    """
    mounts = sorted((info for info in iter_mounts(places) if info.kind != STAGING), key=lambda info: info.started_ns)
    whole = [(info, os.path.join(info.mountpoint, f"@run-{run}")) for info in mounts if _is_whole(info, repository_id)]
    views = [(info, path) for info, path in whole if os.path.isdir(path)]
    versions = [
        (os.path.join(path, str(info.collection), f"v{info.version}"), info.mountpoint)
        for info in mounts
        if (info.repository_id, info.kind) == (repository_id, VERSION)
        for path in _find_above(info, views)
    ]
    shown = (*versions, *((path, info.mountpoint) for info, path in views))
    bound = {mountpoint for _, mountpoint in shown}
    unseen = tuple(info.mountpoint for info in mounts if info.mountpoint not in bound)
    return RunMounts(shown, views[0][0].mountpoint if views else "", views[0][1] if views else "", unseen)


def _is_whole(info: MountInfo, repository_id: str) -> bool:
    return (info.repository_id, info.kind, info.transport) == (repository_id, REPOSITORY, "kernel")


def _find_above(version: MountInfo, views: list[tuple[MountInfo, str]]) -> list[str]:
    """Return the view that can stand for the mount of one version: of a mount that lets in whoever that lets in."""
    return [path for info, path in views if info.allow_other or not version.allow_other][:1]
