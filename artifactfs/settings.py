"""What the configuration file says.

The command line and the SDK read it; everything below gets passed what it says.

Used by `places`, `sdk`, `serve` and the command line. Threading: functions without state; `load_settings` reads a file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ConfigurationError, translate_os_error
from artifactfs.user_directories import absolute_path, user_directory

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    return absolute_path(chosen, environ) if chosen else os.path.join(user_directory(environ, "config"), "config.toml")


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
    return value if key in _TEXTS else absolute_path(value, environ, base=os.path.dirname(path))


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
