"""Mounting, unmounting, and finding what is mounted: all that other packages use of `mount/`.

Threading: functions without state; any thread, any process. The process that calls must not be one that
serves a mount: most of these look into mounts.
"""

from __future__ import annotations

from collections.abc import Iterator

from artifactfs.mount.options import Finding, HasId, MountInfo, MountOptions, Places, StagingName

__all__ = [
    "Finding",
    "MountFreezer",
    "MountInfo",
    "MountOptions",
    "attach_staging",
    "detach_staging",
    "diagnose",
    "find_path",
    "find_staging_path",
    "iter_mounts",
    "mount",
    "refresh_name",
    "unmount",
]


def mount(places: Places, mountpoint: str, *, options: MountOptions) -> MountInfo:
    """Mount the repository of `places`, or one version of it, and return when a first listing answers.

    With `options.foreground` this process becomes the server and the call does not return.

    Raises:
        MountError: the mount point is missing, no directory, not empty, taken or inside the repository;
            `/dev/fuse` or libfuse is missing or forbidden; the server ended before it was ready.
        NotFoundError: `options.artifact` names nothing.
    """
    raise NotImplementedError


def unmount(places: Places, mountpoint: str, *, lazy: bool = False) -> None:
    """Unmount what artifactfs has mounted on `mountpoint`, with the staging directories bound inside.

    Args:
        lazy: take it out of the name space at once; who has it open keeps it.

    Raises:
        MountError: nothing of artifactfs is mounted there.
        BusyError: a process uses it, named in the message; nothing was unmounted.
    """
    raise NotImplementedError


def iter_mounts(places: Places) -> Iterator[MountInfo]:
    """Yield the live mounts of this user, staging directories' among them; what is dead is swept."""
    raise NotImplementedError


def find_path(places: Places, repository_id: str, *, collection: str, version: int) -> str | None:
    """Return where a version can be seen inside a live mount, or None."""
    raise NotImplementedError


def find_staging_path(places: Places, repository_id: str, *, collection: str, name: str) -> str | None:
    """Return where a staging directory can be seen and written, or None when no mount is up."""
    raise NotImplementedError


def attach_staging(places: Places, repository: HasId, *, staging: StagingName, author: str = "") -> str | None:
    """Serve a staging directory and show it in every live mount of its repository.

    Idempotent: what is already there stays, what was lost is made again.

    Returns:
        The path where it can be written; None when the repository is not mounted (nothing is started).

    Raises:
        MountError: its server could not be started.
    """
    raise NotImplementedError


def detach_staging(places: Places, repository: HasId, *, staging: StagingName) -> None:
    """Stop serving a staging directory, before `discard` or `commit --close`; none served is no error.

    Raises:
        BusyError: a process uses it, named in the message; it goes on being served.
    """
    raise NotImplementedError


def refresh_name(places: Places, repository_id: str, *, collection: str, name: str) -> None:
    """Make the kernel forget a version, alias or `@NAME` that was deleted, in every live mount.

    New names and moved aliases show without this. Never fails; a name that is still there stays.
    """
    raise NotImplementedError


class MountFreezer:
    """Freezes a staging directory through the process that serves it, if one does.

    Threading: any thread.
    """

    def __init__(self, places: Places, repository_id: str) -> None:
        """Store where the sockets are."""
        self._places = places
        self._repository_id = repository_id


def diagnose(places: Places) -> list[Finding]:
    """Return what on this machine decides whether mounts work, each with the mend."""
    raise NotImplementedError
