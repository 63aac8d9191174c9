"""Making the kernel forget a name of the catalogue that is gone.

Used by `api` and `staging_ending`. It looks into mounts, so it is not for a process that serves one.

Threading: functions without state.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from artifactfs.mount.staging_mounts import repository_mounts

if TYPE_CHECKING:
    from artifactfs.mount.options import Places


def refresh_name(places: Places, repository_id: str, *, collection: str, name: str) -> None:
    """Make the kernel forget a version, alias or `@NAME` that was deleted, in every live mount.

    New names and moved aliases show without this. Never fails; a name that is still there stays.
    """
    for info in repository_mounts(places, repository_id):
        with contextlib.suppress(OSError):
            _look_up_afresh(os.path.join(info.mountpoint, collection), name)


def _look_up_afresh(folder: str, name: str) -> None:
    """Try to make the directory `name` in a read-only mount: before it refuses, the kernel asks about the name again.

    Source: filename_create in fs/namei.c (LOOKUP_EXCL), fuse_dentry_revalidate in fs/fuse/dir.c; a name that is
    gone is dropped by this.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
            os.mkdir(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)
