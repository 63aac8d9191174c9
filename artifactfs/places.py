"""Where things are on this machine, and what the configuration file says.

The command line and the SDK compute this from the environment that they read; everything below gets it passed.

Used by `sdk` and the command line. Threading: functions without state; `load_settings`, `find_places` and
`make_runtime_directory` look at the file system.

Source: XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import AccessDeniedError, ConfigurationError, translate_os_error

if TYPE_CHECKING:
    from collections.abc import Mapping

APP: Final = "artifactfs"
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


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration file says; None and "" where it says nothing.

    Attributes:
        path: of the file, whether or not it exists.
        repository: the repository's location.
        author: who changes are recorded as made by.
        state: directory that replaces the user's state directory.
        cache: directory that replaces the user's cache directory.
        runtime: directory that replaces the user's runtime directory.
        poll_seconds: how long a collection of a remote repository is taken to be as it was seen.
        cache_size: how much of what was fetched is kept, as `200G`.
        cache_free: how much of the cache's disk stays free.
        connections: how many requests a process makes at once.
        bandwidth: how many bytes a process moves in a second.
        deadline_seconds: how long a request is tried.
        offline: whether the network is not used.
        packed_below: size in bytes below which files go into packs.
        follow_references: URI prefixes below which references are followed.
    """

    path: str = ""
    repository: str | None = None
    author: str | None = None
    state: str | None = None
    cache: str | None = None
    runtime: str | None = None
    poll_seconds: str | None = None
    cache_size: str | None = None
    cache_free: str | None = None
    connections: str | None = None
    bandwidth: str | None = None
    deadline_seconds: str | None = None
    offline: str | None = None
    packed_below: int | None = None
    follow_references: tuple[str, ...] | None = None


_KEYS: Final = (
    "repository",
    "author",
    "state",
    "cache",
    "runtime",
    "poll_seconds",
    "cache_size",
    "cache_free",
    "connections",
    "bandwidth",
    "deadline_seconds",
    "offline",
    "packed_below",
    "follow_references",
)
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTP]?)(?:iB|B)?", re.IGNORECASE)
_REMOTE: Final = ("poll_seconds", "cache_size", "cache_free", "connections", "bandwidth", "deadline_seconds", "offline")
_TEXTS: Final = ("author", *_REMOTE)
_LARGEST_PACKED: Final = 4 << 20
PACKED_BELOW: Final = 1 << 20
"""What `packed_below` is where nothing is said."""


def find_settings_path(environ: Mapping[str, str]) -> str:
    """Return where the configuration file is: ARTIFACTFS_CONFIG, else `config.toml` in the user's configuration."""
    chosen = environ.get("ARTIFACTFS_CONFIG")
    return _absolute(chosen, environ) if chosen else os.path.join(_user_directory(environ, "config"), "config.toml")


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Return what the configuration file says; a missing one says nothing.

    Raises:
        ConfigurationError: it is not TOML, has an unknown key or a value that is not text, or
            ARTIFACTFS_CONFIG names a file that does not exist.
        AccessDeniedError: it cannot be read.
    """
    path = find_settings_path(environ)
    try:
        with open(path, "rb") as file:
            found = _parse_toml(file.read(), path)
    except FileNotFoundError:
        if environ.get("ARTIFACTFS_CONFIG"):
            msg = f"there is no configuration file {path}"
            raise ConfigurationError(msg, hint="ARTIFACTFS_CONFIG names it", subject=path) from None
        return Settings(path)
    except OSError as error:
        raise translate_os_error(error, doing=f"reading the configuration file {path}", subject=path) from error
    packed_below = found.pop("packed_below", None)
    follow = found.pop("follow_references", None)
    texts = {key: _check_setting(path, key, value, environ) for key, value in found.items()}
    return Settings(
        path,
        **texts,
        packed_below=None if packed_below is None else _check_packed(path, packed_below),
        follow_references=None if follow is None else _check_prefixes(path, follow),
    )


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
        repository=_absolute(chosen, environ) if chosen else _default_repository(environ, uid),
        state=_choose(environ, "ARTIFACTFS_STATE", settings.state) or _user_directory(environ, "state"),
        cache=_choose(environ, "ARTIFACTFS_CACHE", settings.cache) or _user_directory(environ, "cache"),
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


def find_packed_below(settings: Settings) -> int:
    """Return the size below which files are put into packs: the configuration file's `packed_below`, else 1 MiB."""
    return PACKED_BELOW if settings.packed_below is None else settings.packed_below


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `200G`, `1.5T` or `4096`; units are powers of 1,024.

    Raises:
        ConfigurationError: it is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        msg = f"{text!r} is no size"
        raise ConfigurationError(msg, hint="write a number of bytes, or 500M, 200G, 1.5T")
    return int(float(found[1]) * 1024 ** " KMGTP".index(found[2].upper() or " "))


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


def _parse_toml(data: bytes, path: str) -> dict[str, object]:
    import tomllib  # noqa: PLC0415 (costs 10 ms, and most users have no configuration file)

    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"the configuration file {path} is not TOML: {error}"
        raise ConfigurationError(msg, subject=path) from error


def _check_setting(path: str, key: str, value: object, environ: Mapping[str, str]) -> str:
    if key not in _KEYS:
        msg = f"the configuration file {path} has the unknown key {key!r}"
        raise ConfigurationError(msg, hint=f"known are {', '.join(_KEYS)}", subject=path)
    if key in _REMOTE and isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str) or not value:
        msg = f"in the configuration file {path} {key} is not a text"
        raise ConfigurationError(msg, subject=path)
    # A relative path in a file means the same from wherever the command is run.
    return value if key in _TEXTS else _absolute(value, environ, base=os.path.dirname(path))


def _check_packed(path: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_PACKED:
        return value
    msg = f"in the configuration file {path} packed_below is no number of bytes from 0 to {_LARGEST_PACKED}"
    raise ConfigurationError(msg, hint="0 stores each file as an object of its own", subject=path)


def _check_prefixes(path: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(item, str) and "://" in item for item in value):
        return tuple(value)
    msg = f"in the configuration file {path} follow_references is no list of URI prefixes"
    raise ConfigurationError(msg, hint='such as ["s3://bucket/data", "file:///data"]; [] follows none', subject=path)


def _choose(environ: Mapping[str, str], variable: str, setting: str | None) -> str | None:
    chosen = environ.get(variable) or setting
    return _absolute(chosen, environ) if chosen else None


def _absolute(path: str, environ: Mapping[str, str], *, base: str = "") -> str:
    if "://" in path:
        return path
    if path == "~" or path.startswith("~/"):
        path = _home(environ) + path[1:]
    return os.path.abspath(os.path.join(base, path))


def _home(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(home):
        msg = "the home directory is not known"
        raise ConfigurationError(msg, hint="set HOME, or ARTIFACTFS_REPO and ARTIFACTFS_STATE")
    return home


def _default_repository(environ: Mapping[str, str], uid: int) -> str:
    return (
        ROOT_REPOSITORY
        if _is_system_root(uid, ROOT_REPOSITORY)
        else os.path.join(_user_directory(environ, "data"), "repository")
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


_XDG: Final = {"config": ".config", "data": ".local/share", "state": ".local/state", "cache": ".cache"}


def _user_directory(environ: Mapping[str, str], kind: str) -> str:
    chosen = environ.get(f"XDG_{kind.upper()}_HOME")
    if chosen and os.path.isabs(chosen):
        return os.path.join(chosen, APP)
    if sys.platform == "darwin":
        return _mac_directory(kind)
    return os.path.join(_home(environ), _XDG[kind], APP)


def _mac_directory(kind: str) -> str:
    import platformdirs  # noqa: PLC0415 (costs every command 10 ms, and Linux does not need it)

    folders = {
        "config": platformdirs.user_config_dir,
        "data": platformdirs.user_data_dir,
        "state": platformdirs.user_state_dir,
        "cache": platformdirs.user_cache_dir,
    }
    return folders[kind](APP, appauthor=False)
