"""Where things are on this machine.

The command line and the SDK compute this from the environment that they read; everything below gets it passed.

Used by `sdk` and the command line. Threading: functions without state; `find_places` and `make_runtime_directory` look
at the file system.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import AccessDeniedError, ConfigurationError, translate_os_error
from artifactfs.settings import Settings, load_settings
from artifactfs.user_directories import APP, absolute_path, user_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT_REPOSITORY: Final = "/var/lib/artifactfs"
ROOT_RUNTIME: Final = "/run/artifactfs"
AUTHOR_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of one user. All absolute.

    Attributes:
        repository: the repository's location.
        state: what must survive: indexes, staging directories, logs.
        cache: what can be fetched again.
        runtime: what lives as long as the machine is up: sockets, the registry of mounts, staging mounts.
    """

    repository: str
    state: str
    cache: str
    runtime: str


def find_places(
    environ: Mapping[str, str], *, uid: int, repository: str | None = None, settings: Settings | None = None
) -> Places:
    """Return where things are: option before environment before configuration file before default.

    Nothing is made here.

    Args:
        environ: the environment.
        uid: the user; 0 has system-wide defaults, unless he is root in a user namespace alone.
        repository: what an option says.
        settings: what the configuration file says; None reads it.

    Raises:
        ConfigurationError: see `load_settings`; or a home directory is needed and not known.
    """
    settings = load_settings(environ) if settings is None else settings
    chosen = repository or environ.get("ARTIFACTFS_REPO") or settings.repository
    return Places(
        repository=absolute_path(chosen, environ) if chosen else _default_repository(environ, uid),
        state=_choose(environ, "ARTIFACTFS_STATE", settings.state) or user_directory(environ, "state"),
        cache=_choose(environ, "ARTIFACTFS_CACHE", settings.cache) or user_directory(environ, "cache"),
        runtime=_choose(environ, "ARTIFACTFS_RUNTIME", settings.runtime) or _default_runtime(environ, uid),
    )


def find_author(environ: Mapping[str, str], settings: Settings, *, user: str, host: str) -> str:
    """Return who makes changes: ARTIFACTFS_AUTHOR, else the configuration file's `author`, else `user@host`.

    Raises:
        ConfigurationError: it is over 256 characters, not UTF-8, or has control characters.
    """
    author = environ.get("ARTIFACTFS_AUTHOR") or settings.author or f"{user}@{host}"
    if len(author) > AUTHOR_MAX or not author.isprintable():
        msg = f"{author[:40]!r} cannot be an author"
        raise ConfigurationError(msg, hint=f"use up to {AUTHOR_MAX} printable characters")
    return author


def make_runtime_directory(path: str, *, uid: int) -> str:
    """Return the runtime directory, made if need be, after checking that it belongs to this user alone.

    Raises:
        AccessDeniedError: somebody else owns it, others may write to it, or it is a symbolic link.
        ArtifactFSError: it cannot be made.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        status = os.lstat(path)
    except OSError as error:
        raise translate_os_error(error, doing=f"making the runtime directory {path}", subject=path) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o022:
        msg = f"the runtime directory {path} is not a directory of this user alone"
        raise AccessDeniedError(msg, hint="remove it, or set ARTIFACTFS_RUNTIME", subject=path)
    return path


def _choose(environ: Mapping[str, str], variable: str, setting: str | None) -> str | None:
    chosen = environ.get(variable) or setting
    return absolute_path(chosen, environ) if chosen else None


def _default_repository(environ: Mapping[str, str], uid: int) -> str:
    return (
        ROOT_REPOSITORY
        if _is_system_root(uid, ROOT_REPOSITORY)
        else os.path.join(user_directory(environ, "data"), "repository")
    )


def _default_runtime(environ: Mapping[str, str], uid: int) -> str:
    if _is_system_root(uid, ROOT_RUNTIME):
        return ROOT_RUNTIME
    chosen = environ.get("XDG_RUNTIME_DIR")
    if chosen and os.path.isabs(chosen):
        return os.path.join(chosen, APP)
    # macOS has no such directory, and neither has a container or a cron job.
    return f"/tmp/{APP}-{uid}"  # noqa: S108 (checked by make_runtime_directory)


def _is_system_root(uid: int, place: str) -> bool:
    """Return whether the user is root, and the directory that a place is made in is root's, too.

    In a user namespace (`unshare -Ur`) somebody is root who may not write there: its owner is nobody known then.
    """
    if uid != 0:
        return False
    try:
        return os.stat(os.path.dirname(place)).st_uid == 0
    except FileNotFoundError:
        return True
