"""Mounts as members of JSON objects, and as a line for people.

Used by the command line and by `serve`. Threading: functions without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactfs.clock import format_time_ns
from artifactfs.repository.described import name_fields
from artifactfs.repository.outagenotice import find_outage_ns
from artifactfs.repository.statedirectory import find_state_directory

if TYPE_CHECKING:
    from artifactfs.mount.options import MountInfo


def mount_fields(info: MountInfo, *, stale_ns: int | None = None) -> dict[str, Any]:
    """Return a mount as members of a JSON object; `stale_ns` is what `find_stale_ns` returned."""
    return {
        **name_fields("mountpoint", info.mountpoint),
        **name_fields("repository", info.repository),
        "repository_id": info.repository_id,
        "shows": describe_mount(info),
        "kind": info.kind,
        "read_only": info.read_only,
        "transport": info.transport,
        "pid": info.pid,
        **name_fields("log", info.log),
        "started": format_time_ns(info.started_ns),
        "stale": None if stale_ns is None else format_time_ns(stale_ns),
    }


def find_stale_ns(info: MountInfo, *, state: str) -> int | None:
    """Return since when what was last known is shown, because the service does not answer; None while it does.

    Args:
        info: the mount.
        state: the state directory of this user.
    """
    directory = find_state_directory(state, repository_id=info.repository_id, location=info.repository)
    return find_outage_ns(directory)


def describe_mount(info: MountInfo) -> str:
    """Return what a mount shows: `NAME:vN`, `NAME:@STAGING` or `all collections`."""
    if info.staging is not None:
        return f"{info.collection}:@{info.staging}"
    return "all collections" if info.version is None else f"{info.collection}:v{info.version}"
