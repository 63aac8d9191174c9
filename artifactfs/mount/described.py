"""Mounts as members of JSON objects, and as a line for people.

Used by the command line and by `serve`. Threading: pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactfs.clock import format_time_ns
from artifactfs.repository.described import name_fields

if TYPE_CHECKING:
    from artifactfs.mount.options import MountInfo


def mount_fields(info: MountInfo) -> dict[str, Any]:
    """Return a mount as members of a JSON object."""
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
    }


def describe_mount(info: MountInfo) -> str:
    """Return what a mount shows: `NAME:vN`, `NAME:@STAGING` or `all collections`."""
    if info.staging is not None:
        return f"{info.collection}:@{info.staging}"
    return "all collections" if info.version is None else f"{info.collection}:v{info.version}"
