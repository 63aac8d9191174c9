"""Giving a staging directory that exists another quota.

Used by the command line; whoever serves the staging directory is told by `mount.api.tell_quota`.

Threading: a function over files and locks; any process.
"""

from __future__ import annotations

import msgspec

from artifactfs.errors import translate_os_error
from artifactfs.repository.staged import Staging
from artifactfs.staging.layout import deciding, read_info, write_info
from artifactfs.staging.projectquota import begin_project, set_limit


def set_quota(staging: Staging, quota: int | None) -> Staging:
    """Change how much a staging directory may hold. What it holds already stays, even if it is more.

    Args:
        staging: which.
        quota: bytes; None for no limit.

    Raises:
        BusyError: it is being committed or removed.
        StagingNotFoundError: it was removed just now.
        StorageFullError, AccessDeniedError: the system refused; the quota is the old one.
    """
    layout = staging.layout
    with deciding(layout):
        info = read_info(layout)
        project = info.project
        try:
            if project is not None:
                set_limit(layout.directory, project, quota)
            elif quota is not None:
                project = begin_project(layout.directory, quota)
        except OSError as error:
            raise translate_os_error(error, doing=f"setting the quota of {staging}") from error
        info = msgspec.structs.replace(info, quota=quota, project=project)
        write_info(layout, info)
    return Staging(info, layout)
