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
        shown: directories and the mount points over which they can be bound, in that order: first those that lie in the
            view of another mount, which is covered later.
        main: the mount point whose view the program is told of; empty when no mount of the whole repository shows it.
        view: that view.
        unseen: this user's mount points below which nothing is recorded.
    """

    shown: tuple[tuple[str, str], ...] = ()
    main: str = ""
    view: str = ""
    unseen: tuple[str, ...] = ()


def find_run_mounts(places: Places, repository_id: str, *, run: str) -> RunMounts:
    """Return where a run can see its view, which must have been begun.

    Whole repositories and versions served by the kernel transport show views; the view of another mount can lie over a
    version that libfuse serves. The oldest mount of the whole is the main one. Mounts of other users are not known of.
    """
    mounts = sorted((info for info in iter_mounts(places) if info.kind != STAGING), key=lambda info: info.started_ns)
    served = [info for info in mounts if (info.repository_id, info.transport) == (repository_id, "kernel")]
    named = [(info, os.path.join(info.mountpoint, f"@run-{run}")) for info in served]
    own = [(info, path) for info, path in named if info.kind in (REPOSITORY, VERSION) and os.path.isdir(path)]
    views = [(info, path) for info, path in own if info.kind == REPOSITORY]
    others = [info for info in mounts if (info.repository_id, info.kind) == (repository_id, VERSION)]
    covered = [
        (os.path.join(path, str(info.collection), f"v{info.version}"), info.mountpoint)
        for info in others
        if info not in [each for each, _ in own]
        for path in _find_above(info, views)
    ]
    shown = (*covered, *((path, info.mountpoint) for info, path in own))
    bound = {mountpoint for _, mountpoint in shown}
    unseen = tuple(info.mountpoint for info in mounts if info.mountpoint not in bound)
    return RunMounts(shown, views[0][0].mountpoint if views else "", views[0][1] if views else "", unseen)


def _find_above(version: MountInfo, views: list[tuple[MountInfo, str]]) -> list[str]:
    """Return the view that can stand for the mount of one version: of a mount that lets in whoever that lets in."""
    return [path for info, path in views if info.allow_other or not version.allow_other][:1]
